"""From a YAML file to cells: strict configuration, backends, plan, estimates. Pure, no torch."""
