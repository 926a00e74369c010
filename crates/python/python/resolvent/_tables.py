"""Results as tables and labelled arrays of other packages."""

import numpy


def alike(result, name):
    """Returns the names of the arrays with the axes and the shape of `name`, which comes first."""
    shape, axes = result[name].shape, result.axes_of(name)
    others = [k for k in result.keys() if k != name and result.axes_of(k) == axes and result[k].shape == shape]
    return [name, *others]


def imported(package, method):
    """Imports a package that a method needs."""
    try:
        return __import__(package)
    except ImportError as error:
        raise ImportError(f"{method} needs {package}; install it: pip install {package}") from error


def distinct(axes):
    """Returns names of axes of which none occurs twice: `token`, `token_2`."""
    seen = [axes[: i + 1].count(axis) for i, axis in enumerate(axes)]
    return [axis if n == 1 else f"{axis}_{n}" for axis, n in zip(axes, seen)]


def pandas_frame(result, name):
    """Returns a table with one row per element, the axes as its index, and one column per array with these axes."""
    pandas = imported("pandas", "to_pandas")
    shape, axes = result[name].shape, result.axes_of(name)
    index = pandas.MultiIndex.from_product([range(n) for n in shape], names=axes)
    return pandas.DataFrame({k: result[k].ravel() for k in alike(result, name)}, index=index)


def polars_frame(result, name):
    """Returns the same table of Polars, with a column for each axis."""
    polars = imported("polars", "to_polars")
    array = result[name]
    places = numpy.indices(array.shape).reshape(array.ndim, -1)
    columns = dict(zip(distinct(list(result.axes_of(name))), places))
    return polars.DataFrame({**columns, **{k: result[k].ravel() for k in alike(result, name)}})


def xarray_array(result, name):
    """Returns an array with named axes; tokens have their texts as coordinates, and attributes are the metadata."""
    xarray = imported("xarray", "to_xarray")
    array, axes = result[name], distinct(list(result.axes_of(name)))
    words, coordinates = result.str_tokens, {}
    for axis, length in zip(axes, array.shape):
        if axis.startswith("token") and len(words) == length:
            coordinates[axis] = numpy.arange(length)
            coordinates[f"{axis}_text"] = (axis, words)
    return xarray.DataArray(array, coords=coordinates, dims=axes, name=name, attrs=dict(result.metadata))
