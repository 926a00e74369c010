//! Terminal heatmaps and plots of labelled results.
