"""The networks, one file each; `vsr_model.registry` names them."""
