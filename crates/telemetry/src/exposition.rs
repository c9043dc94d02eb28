//! Figures as OpenMetrics text, encoded by the `prometheus-client` library.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::histogram::Snapshot;

/// The media type of [`Figures::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a family holds.
#[derive(Debug, Clone)]
enum Value {
    Whole(u64),
    Real(f64),
    Durations(Box<Snapshot>),
}

/// One name with its values.
#[derive(Debug)]
pub struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    values: Vec<(Vec<(&'static str, String)>, Value)>,
}

/// Something a family takes as a value.
pub trait Figure {
    #[doc(hidden)]
    fn into_value(self) -> FigureValue;
}

/// A value on its way into a family.
#[derive(Debug)]
pub struct FigureValue(Value);

impl Figure for u64 {
    fn into_value(self) -> FigureValue {
        FigureValue(Value::Whole(self))
    }
}

impl Figure for f64 {
    fn into_value(self) -> FigureValue {
        FigureValue(Value::Real(self))
    }
}

impl Figure for Snapshot {
    fn into_value(self) -> FigureValue {
        FigureValue(Value::Durations(Box::new(self)))
    }
}

impl Family {
    /// The family's one value, without labels.
    pub fn plain(&mut self, value: impl Figure) {
        self.labelled(&[], value);
    }

    /// One value of several. Label values must come from closed sets.
    pub fn labelled(&mut self, labels: &[(&'static str, &str)], value: impl Figure) {
        let labels = labels.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
        self.values.push((labels, value.into_value().0));
    }
}

/// The figures of one scrape, being gathered.
#[derive(Debug, Default)]
pub struct Figures {
    families: Vec<Family>,
}

impl Figures {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A family that only grows. `name` comes without `_total`, which the format appends.
    pub fn counter(&mut self, name: &'static str, help: &'static str) -> &mut Family {
        self.family(name, help, MetricType::Counter)
    }

    /// A family that goes up and down.
    pub fn gauge(&mut self, name: &'static str, help: &'static str) -> &mut Family {
        self.family(name, help, MetricType::Gauge)
    }

    /// A family of durations.
    pub fn histogram(&mut self, name: &'static str, help: &'static str) -> &mut Family {
        self.family(name, help, MetricType::Histogram)
    }

    fn family(&mut self, name: &'static str, help: &'static str, kind: MetricType) -> &mut Family {
        self.families.push(Family { name, help, kind, values: Vec::new() });
        self.families.last_mut().expect("one was just pushed")
    }

    pub(crate) fn text(self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        encode(&mut text, &registry).expect("writing to a string does not fail");
        text
    }
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for family in &self.families {
            let mut of_family =
                encoder.encode_descriptor(family.name, family.help, None, family.kind)?;
            for (labels, value) in &family.values {
                if labels.is_empty() {
                    encode_value(&mut of_family, family.kind, value)?;
                } else {
                    encode_value(&mut of_family.encode_family(labels)?, family.kind, value)?;
                }
            }
        }
        Ok(())
    }
}

fn encode_value(
    encoder: &mut MetricEncoder<'_>,
    kind: MetricType,
    value: &Value,
) -> Result<(), std::fmt::Error> {
    match (kind, value) {
        (MetricType::Counter, Value::Whole(count)) => {
            encoder.encode_counter::<NoLabelSet, u64, f64>(count, None)
        }
        (MetricType::Counter, Value::Real(count)) => {
            encoder.encode_counter::<NoLabelSet, f64, f64>(count, None)
        }
        (_, Value::Whole(level)) => encoder.encode_gauge(level),
        (_, Value::Real(level)) => encoder.encode_gauge(level),
        (_, Value::Durations(snapshot)) => encoder.encode_histogram::<NoLabelSet>(
            snapshot.sum_ns as f64 / 1e9,
            snapshot.count(),
            &snapshot.buckets(),
            None,
        ),
    }
}
