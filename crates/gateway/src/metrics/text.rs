//! Families as the text format has them, built from numbers that were counted elsewhere.

use macp_counters::{Counter, Gauge, Histogram};
use prometheus::proto::{self, LabelPair, Metric, MetricFamily, MetricType};

/// Nanoseconds, and milliseconds, in a second.
pub(super) const NANOS: f64 = 1e9;
pub(super) const MILLIS: f64 = 1e3;

/// A sample's labels, in their order.
pub(super) type Labels<'l> = &'l [(&'static str, &'l str)];

/// A family while samples are added to it.
pub(super) struct Family(MetricFamily);

impl Family {
    pub(super) fn counter(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::COUNTER)
    }

    pub(super) fn gauge(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::GAUGE)
    }

    pub(super) fn histogram(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::HISTOGRAM)
    }

    fn new(name: &str, help: &str, kind: MetricType) -> Self {
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        Self(family)
    }

    /// Adds the value of a counter or a gauge.
    pub(super) fn value(mut self, labels: Labels<'_>, value: f64) -> Self {
        self.add(labels, value);
        self
    }

    pub(super) fn add(&mut self, labels: Labels<'_>, value: f64) {
        let mut metric = metric(labels);
        if self.0.get_field_type() == MetricType::COUNTER {
            let mut counter = proto::Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.0.mut_metric().push(metric);
    }

    /// Adds a histogram whose values are so many in the unit of the family.
    pub(super) fn observe(&mut self, labels: Labels<'_>, histogram: &Histogram, unit: f64) {
        let observed = histogram.observed();
        let mut made = proto::Histogram::default();
        made.set_sample_count(observed.count);
        made.set_sample_sum(float(observed.sum) / unit);
        let bucket = |(bound, count): &(u64, u64)| {
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(float(*bound) / unit);
            bucket.set_cumulative_count(*count);
            bucket
        };
        made.set_bucket(observed.cumulative.iter().map(bucket).collect());
        let mut metric = metric(labels);
        metric.set_histogram(made);
        self.0.mut_metric().push(metric);
    }

    /// The family, unless it has no sample.
    pub(super) fn made(self) -> Option<MetricFamily> {
        (!self.0.get_metric().is_empty()).then_some(self.0)
    }
}

fn metric(labels: Labels<'_>) -> Metric {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    Metric::from_label(labels.iter().map(pair).collect())
}

/// The format's numbers are floating.
#[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
pub(super) fn float(number: u64) -> f64 {
    number as f64
}

pub(super) fn counted(counter: &Counter) -> f64 {
    float(counter.get())
}

/// A gauge; one that is read between two changes may be below nothing for a moment.
pub(super) fn level(gauge: &Gauge) -> f64 {
    float(gauge.get().max(0).unsigned_abs())
}
