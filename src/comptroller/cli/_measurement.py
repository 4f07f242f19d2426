"""What `comptroller measure` runs, and what it hands to be shown and written."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from comptroller import __version__
from comptroller.cli._progress import ProgressBar
from comptroller.errors import InputError
from comptroller.facts.format import format_
from comptroller.measure import kernels_run
from comptroller.measure.host import measure as measure_host
from comptroller.measure.kernels import GemmShape
from comptroller.measure.quality import FormatTriple, ReferencePass, fitting, measure, reference, windows
from comptroller.measure.quality_mix import assign, assignment_loss, sensitivities
from comptroller.measure.quality_weights import read_decoder
from comptroller.report import quality as report
from comptroller.report.drawing import ChartPicture
from comptroller.report.sheet import ReportSheet


@dataclass(frozen=True, slots=True)
class MeasureCommandOptions:
    """The options of a measurement: size is (tokens, window), mixed is (probe, bits)."""

    what: str
    formats: tuple[str, ...]
    text: Path | None
    size: tuple[int, int]
    mixed: tuple[str, float | None]
    shapes: tuple[str, ...]
    kernels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MeasureCommandOutput:
    """Tables, a sentence on what was measured, and what can be written."""

    sheets: tuple[ReportSheet, ...]
    about: str
    picture: Callable[[], ChartPicture] | None = None
    calibration: Callable[[], str] | None = None
    whole_page: Callable[[], str] | None = None

    def page(self) -> str:
        """A self-contained page of the tables."""
        return self.whole_page() if self.whole_page else report.page(self.about, self.sheets)


def quality(options: MeasureCommandOptions, words: Console) -> MeasureCommandOutput:
    """Losses of recipes on a text; with a probe, sensitivities; with a budget, an assignment.

    Raises:
        InputError: no text, no formats, or files that cannot be read.
    """
    probe, bits = options.mixed
    if options.text is None or not (options.formats or probe):
        raise InputError("measure quality: MODEL FORMAT... --text FILE, such as nvfp4 int8/int8/fp8_e4m3")
    recipes = [FormatTriple.of(name) for name in options.formats]
    if bits is not None and (not probe or any(str(recipe) != recipe.weights for recipe in recipes)):
        raise InputError("--bits assigns weight formats by sensitivity: name them, and a --probe")
    try:
        text = options.text.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{options.text}: {error}") from error
    checkpoint = read_decoder(Path(options.what))
    tokens = windows(checkpoint.tokens(text), options.size[1], options.size[0])
    for name in filter(None, (probe, *(recipe.weights for recipe in recipes))):
        fitting(checkpoint.decoder, name)
    ref = reference(checkpoint.decoder, tokens, keep=bool(probe))
    with ProgressBar("recipes", "last recipe", words) as bar:
        losses = list(measure(ref, recipes, bar))
    about = (
        f"{checkpoint.name} on {tokens.size} tokens of {options.text.name} in windows of {tokens.shape[1]}; "
        "intervals 90 %, windows resampled; the reference is the file as read"
    )
    sheets = [report.losses(losses, checkpoint.name)] if losses else []
    constant_sheet = report.constant(losses)
    sheets += [constant_sheet] if constant_sheet else []
    sheets += _sensitivity_sheets(options, ref, words) if probe else []
    subject = f"{checkpoint.name} on {options.text.name}"
    return MeasureCommandOutput(tuple(sheets), about, (lambda: report.picture(losses, subject)) if losses else None)


def _sensitivity_sheets(options: MeasureCommandOptions, ref: ReferencePass, words: Console) -> list[ReportSheet]:
    probe, bits = options.mixed
    with ProgressBar("parts", "last part", words) as bar:
        parts = sensitivities(ref, probe, bar)
    if bits is None:
        return [report.parts(parts, probe)]
    chosen = assign(ref, parts, options.formats, bits)
    return [report.parts(parts, probe), report.assignment(chosen, assignment_loss(ref, chosen))]


def kernels(asked: MeasureCommandOptions, words: Console) -> MeasureCommandOutput:
    """Products timed on a device and the law fitted to them.

    Raises:
        InputError: torch or the device is missing, a shape is not MxNxK, or nothing ran.
    """
    shapes = [_shape(text) for text in asked.shapes] or kernels_run.SHAPES
    users_kernels = dict(kernels_run.own_kernel(spec) for spec in asked.kernels)
    torch = kernels_run.load(asked.what)

    def tell(line: str) -> None:
        words.print(f"[yellow]not run:[/] {escape(line)}", soft_wrap=True)

    with ProgressBar("products", "last product", words):
        timings = list(kernels_run.measure(asked.what, shapes, tell, users_kernels))
    if not timings:
        raise InputError(f"no kernel ran on {asked.what}")
    size = {timing.format: format_(timing.format).bytes_per_element for timing in timings}
    fits = kernels_run.fits(timings, size)
    device = kernels_run.device_name(asked.what, torch)
    versions = {"python": platform.python_version(), "torch": str(torch.__version__), "comptroller": __version__}
    return MeasureCommandOutput(
        (report.timings(timings, device), report.kernel_fits(fits)),
        f"{device}: {len(timings)} products, torch {torch.__version__}",
        calibration=lambda: kernels_run.as_toml(device, versions, fits),
    )


def host(asked: MeasureCommandOptions, words: Console) -> MeasureCommandOutput:
    """One core of this machine as an accelerator.

    Raises:
        InputError: another device than the CPU is asked for, or its architecture is not known.
    """
    if asked.what != "cpu":
        raise InputError(f"measure host {asked.what}: cpu is measured; datasheets say what others do")
    with ProgressBar("products", "last product", words):
        found = measure_host()
    command = "comptroller measure host cpu"
    return MeasureCommandOutput(
        (report.host(found),),
        f"{found.name}, one of {found.cores} cores; name the file that --out writes as an accelerator of a workload",
        calibration=lambda: found.as_toml(command, date.today()),
    )


def _shape(text: str) -> GemmShape:
    matched = re.fullmatch(r"(\d+)x(\d+)x(\d+)", text)
    if not matched or 0 in (sizes := tuple(map(int, matched.groups()))):
        raise InputError(f"shape {text!r}: MxNxK, three whole numbers above 0, such as 16x4096x4096")
    return GemmShape(*sizes)
