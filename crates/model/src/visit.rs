//! Reading the results of a pass, and passing them on in chunks.

use std::collections::BTreeSet;

use resolvent_engine::Tensor;

use crate::batch::Batch;
use crate::capture::columns;
use crate::error::Result;
use crate::order::Order;
use crate::passes::PassResults;
use crate::program::ValueId;
use crate::run::Run;
use crate::site::Site;
use crate::sweep::Chunk;

impl Run {
    /// Returns the levels of the field as sites, 0 to L.
    pub fn levels(&self) -> Vec<Site> {
        (0..=self.sizes().layers).map(|level| Site::level(level, self.sizes())).collect()
    }

    pub(crate) fn values_of_sites(&self, sites: &[Site]) -> Result<BTreeSet<ValueId>> {
        sites.iter().map(|&site| self.value_of(site)).collect()
    }

    /// Reads the results of a pass at the values of `sites`, and passes them to `visit` sequence by sequence.
    ///
    /// `what` names the results in the message about a value that is not finite.
    pub(crate) fn visit(
        &self,
        batch: &Batch,
        results: &PassResults,
        (what, sites): (&str, &[Site]),
        visit: &mut dyn FnMut(Chunk<'_>),
    ) -> Result<()> {
        self.visit_orders(batch, results, (what, sites, Order::First), &mut |_, chunk| visit(chunk))
    }

    /// Like [`Run::visit`], for each order of the results: 0 is the first order, and 1 the second.
    pub(crate) fn visit_orders(
        &self,
        batch: &Batch,
        results: &PassResults,
        (what, sites, order): (&str, &[Site], Order),
        visit: &mut dyn FnMut(usize, Chunk<'_>),
    ) -> Result<()> {
        let found: Vec<(ValueId, &Tensor)> =
            self.values_of_sites(sites)?.into_iter().filter_map(|v| Some((v, results[v].as_ref()?))).collect();
        let tensors: Vec<&Tensor> = found.iter().map(|(_, tensor)| *tensor).collect();
        for ((value, tensor), data) in found.into_iter().zip(self.device().read_many(&tensors)?) {
            let width = tensor.shape().lengths()[1];
            for (n, data) in order.split(data, width).iter().enumerate() {
                let of_value = |site: &&Site| self.program().value(**site) == Some(value);
                for (site, at) in sites.iter().enumerate().filter(|(_, site)| of_value(site)) {
                    let wanted = at.columns(self.sizes());
                    for i in 0..batch.len() {
                        let (rows, sequence) = (batch.range(i), batch.sequence(i));
                        // A sequence that has not joined at this value has no rows there.
                        if rows.end * width > data.len() {
                            continue;
                        }
                        let (sequence, token) = (sequence.id, sequence.span.start);
                        let whole = &data[rows.start * width..rows.end * width];
                        let part;
                        let rows = match wanted.len() == width {
                            true => whole,
                            false => {
                                part = columns(whole, width, wanted.clone());
                                &part[..]
                            }
                        };
                        self.finite(what, *at, token, rows)?;
                        visit(n, Chunk { sequence, site, token, rows });
                    }
                }
            }
        }
        Ok(())
    }
}
