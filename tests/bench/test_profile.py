"""The profiler pass: how a trace is read, what a round keeps of it, and what a run shows."""

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from bench.grid.baseline import Baseline
from bench.measure import profiling, worker
from bench.measure.trace_reading import covered, launch_bound_share, read
from bench.records import CellRecord, KernelUse, Pass, Phase, Sample, Status
from bench.results.convolution_kernels import Algorithm, algorithm_of
from bench.results.files import to_csv
from bench.results.tables import items_table, tables_of
from tests.bench.fakes import experiment, task_of
from tests.bench.pages import TABLES, render_markdown
from tests.bench.rounds import measure
from tests.bench.test_cli import TINY, call
from tests.networks import STAGES

# Names and times.


@pytest.mark.parametrize(
    ("kernel", "algorithm"),
    [
        ("sm80_xmma_fprop_implicit_gemm_tf32f32_tf32f32_f32_nhwckrsc_nhwc", "implicit_gemm"),
        ("void precomputed_convolve_sgemm<float, 512, 5, 5, 3, 3, 3, 1, false>(int)", "implicit_gemm"),
        ("ampere_scudnn_128x64_relu_interior_nn_v1", "implicit_gemm"),
        ("volta_fp16_s884cudnn_fp16_256x128_ldg8_relu_f2f_exp_small_nhwc_tn_v1", "implicit_gemm"),
        ("triton_tem_fused_convolution_relu_3", "implicit_gemm"),
        ("void cudnn::winograd_nonfused::winogradForwardOutput4x4<float, float>()", "winograd"),
        ("maxwell_scudnn_winograd_128x128_ldg1_ldg4_mobile_relu_tile148t_nt_v0", "winograd"),
        ("void fft2d_r2c_16x16<float>(float2*, float const*, int, int)", "fft"),
        ("ampere_cgemm_32x32_tn", "fft"),
        ("void at::native::im2col_kernel<float>(long, float const*, long)", "explicit_gemm"),
        ("void explicit_convolve_sgemm<float, int, 128, 5, 5, 3, 3, 3, 0, false>(int)", "explicit_gemm"),
        ("void cutlass::Kernel2<cutlass_80_simt_sgemm_128x64_8x5_nn_align1>()", "explicit_gemm"),
        ("void conv2d_grouped_direct_kernel<float, float, float, float, true, 0>()", "direct"),
        # What follows a convolution is none, and a copy that is called direct is none either.
        ("triton_poi_fused_convolution_relu_0", "other"),
        ("void at::native::elementwise_kernel<at::native::direct_copy_kernel_cuda()>", "other"),
    ],
)  # fmt: skip
def test_the_algorithm_that_a_name_indicates(kernel: str, algorithm: str) -> None:
    assert algorithm_of(kernel) == algorithm


@pytest.mark.parametrize(
    ("spans", "length"),
    [
        ([], 0),
        ([(4, 5), (1, 3)], 3),
        ([(1, 3), (2, 4)], 3),  # on two streams at once
        ([(1, 9), (2, 3), (4, 5)], 8),
        ([(1, 2), (2, 3)], 2),
    ],
)
def test_the_length_that_spans_cover(spans: list[tuple[float, float]], length: float) -> None:
    assert covered(spans) == length


def test_the_launch_bound_share() -> None:
    assert launch_bound_share(4.0, 1.0) == 0.75
    assert launch_bound_share(1.0, 1.5) == 0.0


# Traces.


def event(cat: str, name: str, ts: float, dur: float, tid: object = 1, **args: object) -> dict[str, object]:
    return {"ph": "X", "cat": cat, "name": name, "pid": 7, "tid": tid, "ts": ts, "dur": dur, "args": args}


def on_cuda(*more: dict[str, object]) -> dict[str, Any]:
    """A call of 100 us: a launch in alignment, a graph of two kernels in propagation, a copy in no stage."""
    return {
        "traceEvents": [
            {"ph": "M", "name": "process_name", "pid": 7},
            event("kernel", "before", 2, 3, tid="stream 7", correlation=1),
            event("cuda_runtime", "cudaLaunchKernel", 1, 1, correlation=1),
            event("user_annotation", "call", 10, 100),
            event("user_annotation", "stage: alignment", 12, 20),
            event("cpu_op", "aten::grid_sampler", 13, 10),
            event("cuda_runtime", "cudaLaunchKernel", 15, 2, correlation=2),
            event("user_annotation", "stage: propagation", 40, 20),
            event("cuda_runtime", "cudaGraphLaunch", 41, 5, correlation=3),
            event("cuda_runtime", "cudaMemcpyAsync", 70, 5, correlation=4),
            event("cuda_runtime", "cudaDeviceSynchronize", 80, 30, correlation=5),
            event("kernel", "warp", 20, 10, tid="stream 7", correlation=2),
            event("kernel", "conv", 50, 20, tid="stream 7", correlation=3),
            event("kernel", "conv", 75, 5, tid="stream 7", correlation=3),
            event("gpu_memcpy", "Memcpy DtoH", 78, 9, tid="stream 9", correlation=4),
            event("gpu_user_annotation", "stage: propagation", 50, 30, tid="stream 7"),
            *more,
        ]
    }


def test_kernels_belong_to_the_stage_that_launched_them() -> None:
    found = read(on_cuda(), on_device=True)
    assert (found.wall_s, found.unseen) == (1e-4, 0)
    assert found.busy_s == pytest.approx(42e-6)  # 10, 20, and 12 of two that overlap
    named = [(use.stage, use.name, use.calls, round(1e6 * use.seconds)) for use in found.uses]
    assert named == [
        ("propagation", "conv", 2, 25),
        ("alignment", "warp", 1, 10),
        (None, "Memcpy DtoH", 1, 9),
    ]
    assert all(use.cpu_s is None for use in found.uses)


def test_kernels_and_launches_that_miss_each_other() -> None:
    unseen = event("cuda_runtime", "cudaGraphLaunch", 60, 5, correlation=99)
    stray = event("kernel", "stray", 90, 1, correlation=98)
    found = read(on_cuda(unseen, stray), on_device=True)
    assert (found.unseen, found.busy_s) == (1, None)
    assert [use.stage for use in found.uses if use.name == "stray"] == [None]
    assert len(found.uses) == 4


@pytest.mark.parametrize("named", [97, 98])
def test_a_launch_by_way_of_another_is_one(named: int) -> None:
    found = read(
        on_cuda(
            event("cuda_runtime", "cudaLaunchKernelExC", 60, 5, correlation=97),
            event("cuda_driver", "cuLaunchKernelEx", 61, 3, correlation=98),
            event("kernel", "late", 95, 2, correlation=named),
        ),
        on_device=True,
    )
    assert found.unseen == 0
    assert found.busy_s == pytest.approx(44e-6)


def test_operators_count_without_those_that_they_called() -> None:
    trace = {
        "traceEvents": [
            event("user_annotation", "call", 0, 100),
            event("user_annotation", "stage: upsampling", 10, 50),
            event("cpu_op", "aten::conv2d", 11, 40),
            event("cpu_op", "aten::convolution", 12, 38),
            event("cpu_op", "aten::empty", 13, 3),
            event("cpu_op", "aten::empty", 17, 2),
            event("cpu_op", "aten::stack", 70, 10),
            event("cpu_op", "aten::elsewhere", 20, 5, tid=2),
            event("cpu_op", "aten::after", 120, 5),
        ]
    }
    found = read(trace, on_device=False)
    assert (found.busy_s, found.unseen) == (None, 0)
    own = {(use.stage, use.name): (use.calls, round(1e6 * use.seconds)) for use in found.uses}
    assert own == {
        ("upsampling", "aten::conv2d"): (1, 2),
        ("upsampling", "aten::convolution"): (1, 33),
        ("upsampling", "aten::empty"): (2, 5),
        (None, "aten::stack"): (1, 10),
        (None, "aten::elsewhere"): (1, 5),
    }


def test_a_trace_without_a_call_is_refused() -> None:
    with pytest.raises(ValueError, match="does not show the call"):
        read({"traceEvents": []}, on_device=False)


def test_a_trace_keeps_nothing_of_this_machines_folders() -> None:
    exported = {
        "schemaVersion": 1,
        "traceName": "/home/ada/x.json",
        "traceEvents": [{"ph": "X", "args": {"kernel_file": "/home/ada/k.py", "stream": 7}}, {"ph": "M"}],
    }
    assert profiling.tidied(exported) == {
        "schemaVersion": 1,
        "traceEvents": [{"ph": "X", "args": {"stream": 7}}, {"ph": "M"}],
    }


# Rounds.


def profiled(tmp_path: Path, **changes: Any) -> CellRecord:
    one = experiment(grid={"frames": [2], "size": [[16, 16]]}, measure=measure(**{"profile": True} | changes))
    task = replace(
        task_of(one, tmp_path / ".references" / "clip.npy"), profiles=tmp_path / "run" / "profiles"
    )
    return worker.run(task, lambda _: None, lambda: None)


def test_a_round_keeps_its_operators_by_stage_and_its_trace(tmp_path: Path) -> None:
    record = profiled(tmp_path)
    assert (record.status, record.warnings) == (Status.OK, ())
    assert record.profile_wall_s is not None
    assert record.profile_wall_s > 0
    assert (record.profile_busy_s, record.launch_bound_share) == (None, None)
    assert {use.stage for use in record.kernels} - {None} == {str(stage) for stage in STAGES}
    assert all(use.device_s is None and use.calls > 0 for use in record.kernels)
    sampled = [use for use in record.kernels if use.name == "aten::grid_sampler_2d"]
    assert [use.stage for use in sampled] == ["alignment"]
    assert record.profile_trace == "profiles/basicvsr+noise+b1+t2+16x16+cpu+r0.json.gz"
    with gzip.open(tmp_path / "run" / record.profile_trace, "rt") as file:
        text = file.read()
    assert {f"stage: {stage}" for stage in STAGES} <= {
        item["name"] for item in json.loads(text)["traceEvents"] if item.get("cat") == "user_annotation"
    }
    assert str(tmp_path) not in text
    assert [path.name for path in (tmp_path / ".references").iterdir()] == ["clip.npy"]


def test_what_was_measured_stands_where_the_profiler_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no profiler here")

    monkeypatch.setattr(profiling, "trace_of", fail)
    record = profiled(tmp_path)
    assert (record.status, record.warnings) == (Status.OK, ("not profiled: RuntimeError: no profiler here",))
    assert record.samples
    assert record.kernels == ()


def test_figures_are_kept_where_a_trace_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "profiles").touch()
    record = profiled(tmp_path)
    assert record.status is Status.OK
    assert record.kernels
    assert record.profile_trace is None
    (warning,) = record.warnings
    assert warning.startswith("the profiler's trace was not kept: FileExistsError: ")
    assert (tmp_path / "run" / "profiles").read_bytes() == b""


# Tables and the page.


def on_a_gpu() -> CellRecord:
    samples = tuple(
        Sample(
            pass_=Pass.END_TO_END, phase=Phase.STEADY, repetition=index, stage="forward",
            start_s=float(index), wall_s=0.004, device_s=0.004,
        )
        for index in range(6)
    )  # fmt: skip
    return CellRecord(
        cell="basicvsr/noise/b1/t2/64x64/cudnn", round=0, model="basicvsr",
        dtype="float32", fp32_precision="ieee", memory_format="contiguous",
        input="noise", batch=1, frames=2, height=64, width=64,
        backend="cudnn", status=Status.OK, samples=samples, profile_wall_s=0.006, profile_busy_s=0.001,
        launch_bound_share=0.75, profile_trace="profiles/x.json.gz",
        kernels=(
            KernelUse(stage="propagation", name="ampere_scudnn_winograd_128", calls=60, device_s=0.0004),
            KernelUse(stage="alignment", name="=cmd|' /C calc'!A0", calls=2, device_s=0.0003),
            KernelUse(stage="upsampling", name="ampere_scudnn_winograd_128", calls=4, device_s=0.0002),
            KernelUse(name="Memcpy DtoD", calls=1, device_s=0.0001),
        ),
    )  # fmt: skip


def test_the_table_of_kernels() -> None:
    assert to_csv(items_table([on_a_gpu()], "kernels")) == (
        "cell,round,stage,name,algorithm,calls,device_s,cpu_s\n"
        "basicvsr/noise/b1/t2/64x64/cudnn,0,propagation,ampere_scudnn_winograd_128,winograd,60,0.0004,\n"
        "basicvsr/noise/b1/t2/64x64/cudnn,0,alignment,'=cmd|' /C calc'!A0,other,2,0.0003,\n"
        "basicvsr/noise/b1/t2/64x64/cudnn,0,upsampling,ampere_scudnn_winograd_128,winograd,4,0.0002,\n"
        "basicvsr/noise/b1/t2/64x64/cudnn,0,,Memcpy DtoD,other,1,0.0001,\n"
    )


def test_the_page_shows_what_took_longest_and_the_share() -> None:
    def page_of(record: CellRecord) -> str:
        baseline = Baseline(backend="cudnn")
        return render_markdown(tables_of([record], baseline), baseline=baseline)

    section = page_of(on_a_gpu()).partition("## Under the profiler\n")[2].partition("\n## ")[0]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.split("\n") if "|" in line]
    assert ["cudnn", "1.00", "75.0 %", "6.00", "profiles/x.json.gz"] in lines
    assert ["cudnn", "ampere_scudnn_winograd_128", "winograd", "64", "600", "60.0 %"] in lines
    assert ["cudnn", "Memcpy DtoD", "", "1", "100", "10.0 %"] in lines
    absent = {"kernels": (), "profile_wall_s": None, "profile_busy_s": None, "launch_bound_share": None}
    assert "profiler" not in page_of(on_a_gpu().model_copy(update=absent))


def test_the_closed_set_is_in_the_document() -> None:
    text = TABLES.read_text(encoding="utf-8")
    assert [word for word in Algorithm if f"`{word}`" not in text] == []


def test_a_run_keeps_traces_and_kernels_in_its_folder(tmp_path: Path) -> None:
    grid = {**TINY, "grid": {"frames": [1], "size": [[16, 20]]}, "backends": ["cpu", "cuda"]}
    grid["measure"] = {"warmup": 0, "repetitions": 1, "stages": "off", "memory": "off", "profile": True}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({**grid, "plots": []}))
    status, _, err = call("run", "tiny.yaml", "--output", "out", cwd=tmp_path)
    assert status == 0, err
    assert "profiler_start" not in err  # the profiler's own messages are not the command's
    folder = tmp_path / "out"
    cells = pd.read_csv(folder / "cells.csv").set_index("backend")
    trace = str(cells.loc["cpu", "profile_trace"])
    assert [path.name for path in (folder / "profiles").iterdir()] == [Path(trace).name]
    with gzip.open(folder / trace, "rt") as file:
        assert json.load(file)["traceEvents"]
    kernels = pd.read_csv(folder / "kernels.csv")
    assert set(kernels["cell"]) == {"basicvsr/noise/b1/t1/16x20/cpu"}
    assert "## Under the profiler" in (folder / "report.md").read_text()
