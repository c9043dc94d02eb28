//! What is sent back when things went well.

use bytes::Bytes;
use edge::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, LINK, LOCATION};
use http::{HeaderMap, StatusCode};
use http_body_util::Full;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use store::{HistoryPage, Rest, StoredUsage, Summary, SummaryBy, SummaryGroup, SummaryRow};
use usage::{Instant, UsageId};

const DURABILITY: HeaderName = HeaderName::from_static("durability");
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The 201 of a single usage. Built by hand, since every usage gets one.
pub(crate) fn accepted(id: UsageId, replayed: bool) -> Response {
    const PATH: &[u8] = b"/api/usages/";
    let mut text = [0; 36];
    let text = id.encode(&mut text).as_bytes();
    let mut body = Vec::with_capacity(text.len() + 9);
    body.extend_from_slice(b"{\"id\":\"");
    body.extend_from_slice(text);
    body.extend_from_slice(b"\"}");
    let mut location = Vec::with_capacity(PATH.len() + text.len());
    location.extend_from_slice(PATH);
    location.extend_from_slice(text);
    let location = HeaderValue::from_maybe_shared(Bytes::from(location))
        .expect("a path and a UUID are visible ASCII");
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(LOCATION, location);
    headers.insert(DURABILITY, HeaderValue::from_static("fsync"));
    if replayed {
        headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    let mut response = http::Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::CREATED;
    *response.headers_mut() = headers;
    response
}

/// Any other JSON answer. What may speak of patients is kept out of caches.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let text = serde_json::to_vec(body).expect("answers are plain data and serialise");
    let mut response = http::Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Marks an answer as covered by a sync of the disk.
pub(crate) fn mark_durable(response: &mut Response) {
    response.headers_mut().insert(DURABILITY, HeaderValue::from_static("fsync"));
}

/// A receipt.
pub(crate) fn receipt(stored: &StoredUsage) -> Response {
    json(StatusCode::OK, &UsageJson(stored))
}

/// A page of usages. `next_uri` makes the address of the next one from its cursor, for GET.
pub(crate) fn history(
    page: &HistoryPage,
    next_uri: Option<impl FnOnce(&str) -> String>,
) -> Response {
    let next = page.next.as_ref().map(ToString::to_string);
    let body =
        PageJson { usages: page.usages.iter().map(UsageJson).collect(), next: next.as_deref() };
    let mut response = json(StatusCode::OK, &body);
    if let (Some(cursor), Some(next_uri)) = (next, next_uri) {
        let link = format!("<{}>; rel=\"next\"", next_uri(&cursor));
        if let Ok(value) = HeaderValue::from_str(&link) {
            response.headers_mut().insert(LINK, value);
        }
    }
    response
}

/// Counts.
pub(crate) fn summary(by: SummaryBy, tz: &str, summary: &Summary) -> Response {
    let by = match by {
        SummaryBy::Hour => "hour",
        SummaryBy::Day => "day",
        SummaryBy::Medication => "medication",
    };
    let rows = summary.rows.iter().map(RowJson).collect();
    let other = summary.other.map(|Rest { medications, usages }| OtherJson { medications, usages });
    json(StatusCode::OK, &SummaryJson { by, tz, rows, other })
}

#[derive(Serialize)]
struct PageJson<'a> {
    usages: Vec<UsageJson<'a>>,
    next: Option<&'a str>,
}

#[derive(Serialize)]
struct SummaryJson<'a> {
    by: &'static str,
    tz: &'a str,
    rows: Vec<RowJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    other: Option<OtherJson>,
}

/// What has no row of its own.
#[derive(Serialize)]
struct OtherJson {
    medications: u64,
    usages: u64,
}

/// A usage as it is read back.
struct UsageJson<'a>(&'a StoredUsage);

impl Serialize for UsageJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let stored = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &stored.id.to_string())?;
        map.serialize_entry("patientId", &stored.patient_id)?;
        match stored.timestamp.parse::<i64>() {
            Ok(ms) if stored.timestamp_is_number => map.serialize_entry("timestamp", &ms)?,
            _ => map.serialize_entry("timestamp", &stored.timestamp)?,
        }
        map.serialize_entry("instant", &stored.instant.to_string())?;
        map.serialize_entry("offset", &usage::offset_text(stored.offset_seconds))?;
        map.serialize_entry("medication", &stored.medication)?;
        if let Some(event_id) = &stored.event_id {
            map.serialize_entry("eventId", event_id)?;
        }
        if let Some(attributes) = &stored.attributes {
            // It was an object when it was taken in; should it not read as one, it is shown as text.
            match RawValue::from_string(attributes.clone()) {
                Ok(raw) => map.serialize_entry("attributes", &raw)?,
                Err(_) => map.serialize_entry("attributes", attributes)?,
            }
        }
        map.serialize_entry("receivedAt", &received_at(stored.received_ms))?;
        let flags: &[&str] = match (stored.future, stored.past) {
            (true, _) => &["future"],
            (_, true) => &["past"],
            _ => &[],
        };
        map.serialize_entry("flags", flags)?;
        map.end()
    }
}

fn received_at(received_ms: u64) -> String {
    i64::try_from(received_ms)
        .ok()
        .and_then(Instant::from_millis)
        .unwrap_or(Instant::MAX)
        .to_string()
}

/// A row of a summary.
struct RowJson<'a>(&'a SummaryRow);

impl Serialize for RowJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        match &self.0.group {
            SummaryGroup::Bucket { start, offset_seconds } => {
                map.serialize_entry("start", &local_text(*start, *offset_seconds))?;
            }
            SummaryGroup::Medication(name) => map.serialize_entry("medication", name)?,
        }
        map.serialize_entry("count", &self.0.count)?;
        map.end()
    }
}

/// RFC 3339 at an offset: `2016-11-01T00:00:00-05:00`.
fn local_text(instant: Instant, offset_seconds: i32) -> String {
    let local = Instant::from_parts(instant.seconds() + i64::from(offset_seconds), instant.nanos());
    match local {
        Some(local) if offset_seconds != 0 => {
            let utc = local.to_string();
            format!("{}{}", utc.trim_end_matches('Z'), usage::offset_text(offset_seconds))
        }
        _ => instant.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accepted_usage_names_its_receipt() {
        let id = UsageId::keyed("default", "k");
        let response = accepted(id, true);
        assert_eq!(response.status(), 201);
        assert_eq!(response.headers()["location"], format!("/api/usages/{id}"));
        assert_eq!(response.headers()["durability"], "fsync");
        assert_eq!(response.headers()["idempotency-replayed"], "true");
        assert!(!accepted(id, false).headers().contains_key("idempotency-replayed"));
    }

    #[test]
    fn buckets_are_written_in_their_zone() {
        let check = |seconds, offset, expected: &str| {
            let instant = Instant::from_parts(seconds, 0).expect("in range");
            assert_eq!(local_text(instant, offset), expected);
        };
        check(1_478_009_511, 0, "2016-11-01T14:11:51Z");
        check(1_478_009_511, -18_000, "2016-11-01T09:11:51-05:00");
    }
}
