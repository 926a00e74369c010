"""Draws results with matplotlib, for your own figures. `Result.svg` has the figures of this project."""

# The array to draw by default, if it is not the main array of the analysis.
_SHOWN = {
    "run": "logits",
    "sensitivity": "norm",
    "green": "norm",
    "slice": "singular_values",
    "invert": "relative",
}
# Signed quantities are white at zero.
_SIGNED = ("effect", "first_order", "fraction", "directional", "logits")


def draw(result, name, ax):
    """Draws an array of one or two axes and returns the matplotlib axes."""
    try:
        import matplotlib.pyplot as pyplot
    except ImportError as error:
        raise ImportError("plot needs matplotlib; install it: pip install matplotlib") from error
    name = name or _SHOWN.get(result.analysis, result.name)
    array, axes = result[name], result.axes_of(name)
    if array.ndim > 2:
        raise ValueError(f"`{name}` has the axes {', '.join(axes)}; choose an array of one or two axes to plot")
    if ax is None:
        _, ax = pyplot.subplots()
    if axes == ("site", "amplitude"):
        _amplitudes(result, name, ax)
    elif array.ndim == 2:
        _map(result, name, ax)
    else:
        ax.bar(range(len(array)), array)
        ax.set_xlabel(axes[0])
        ax.set_ylabel(name)
    ax.set_title(f"{result.analysis}: {name}")
    return ax


def _map(result, name, ax):
    array, (down, across) = result[name], result.axes_of(name)
    options = {"origin": "lower", "aspect": "auto"}
    if name.split(".")[0] in _SIGNED:
        limit = float(abs(array).max()) or 1.0
        options.update(cmap="RdBu_r", vmin=-limit, vmax=limit)
    image = ax.imshow(array, **options)
    ax.figure.colorbar(image, ax=ax)
    ax.set_ylabel(down)
    ax.set_xlabel(across)
    if across == "token" and len(result.str_tokens) == array.shape[1]:
        ax.set_xticks(range(array.shape[1]), result.str_tokens, rotation=90)


def _amplitudes(result, name, ax):
    for site, errors in zip(result["sites"].astype(int), result[name]):
        ax.plot(result["amplitudes"], errors, marker="o", label=f"h[{site[0]},{site[1]}]")
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("amplitude")
    ax.set_ylabel(name)
    if len(result["sites"]) <= 10:
        ax.legend()
