//! One HTTP request a connection, byte for byte as a test wants it. Every answer is held against the
//! contract: a status that `openapi.json` does not list for the call is a failure.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::Value;

/// A usage as the first clients send it.
pub(crate) const BODY: &str = r#"{"patientId":"100","timestamp":"Tue Nov 01 2016 09:11:51 GMT-0500 (CDT)","medication":"Albuterol"}"#;

const JSON: &str = "Content-Type: application/json\r\n";

static CONTRACT: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../../server/src/openapi.json")).expect("it is JSON")
});

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Fails unless it has this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// Fails unless it is this problem.
    #[track_caller]
    pub(crate) fn expect_problem(self, status: u16, slug: &str) -> Self {
        let answer = self.expect(status);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!(answer.json()["type"], format!("/problems/{slug}"));
        answer
    }

    /// Pointers of a problem's errors, in their order.
    pub(crate) fn pointers(&self) -> Vec<String> {
        let json = self.json();
        let errors = json["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|error| text(&error["pointer"])).collect()
    }

    /// The id of a 201.
    #[track_caller]
    pub(crate) fn id(self) -> String {
        text(&self.expect(201).json()["id"])
    }
}

/// A JSON string's text.
#[track_caller]
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is text")).to_owned()
}

/// Sends a request and reads its answer; `headers` are whole lines.
pub(crate) fn try_call(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &str,
    body: &[u8],
) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let length = if body.is_empty() && method != "POST" {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", body.len())
    };
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}{length}\r\n"
    );
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let answer = read_answer(&mut stream, method)?;
    hold_against_contract(method, target, answer.status);
    Ok(answer)
}

/// Reads a whole answer up to the connection's end. One that is cut off is an error.
pub(crate) fn read_answer(stream: &mut TcpStream, method: &str) -> io::Result<Answer> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let cut_off = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let head_end = bytes.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(cut_off)?;
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let body = String::from_utf8_lossy(&bytes[head_end + 4..]).into_owned();
    let answer = Answer { status: status.ok_or_else(cut_off)?, headers, body };
    let length = answer.header("content-length").and_then(|text| text.parse().ok());
    if method != "HEAD" && length.is_some_and(|length: usize| length != answer.body.len()) {
        return Err(cut_off());
    }
    Ok(answer)
}

/// The same, for calls that must be answered.
#[track_caller]
pub(crate) fn call(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &str,
    body: &str,
) -> Answer {
    match try_call(address, method, target, headers, body.as_bytes()) {
        Ok(answer) => answer,
        Err(error) => panic!("{method} {target}: {error}"),
    }
}

#[track_caller]
pub(crate) fn get(address: SocketAddr, target: &str) -> Answer {
    call(address, "GET", target, "", "")
}

/// Posts a body of JSON to `/api/usages`.
#[track_caller]
pub(crate) fn post(address: SocketAddr, body: &str) -> Answer {
    call(address, "POST", "/api/usages", JSON, body)
}

/// The same with an idempotency key.
#[track_caller]
pub(crate) fn post_keyed(address: SocketAddr, key: &str, body: &str) -> Answer {
    call(address, "POST", "/api/usages", &format!("{JSON}Idempotency-Key: {key}\r\n"), body)
}

/// Fails when the contract does not list `status` for the call. Unknown paths and methods are 404
/// and 405; the operators' calls are on an address of their own and not in the contract.
fn hold_against_contract(method: &str, target: &str, status: u16) {
    let path = target.split('?').next().unwrap_or(target);
    if ["/healthz", "/readyz", "/metrics", "/status"].contains(&path) {
        return;
    }
    let problem = status_is_listed(method, path, status);
    assert!(problem.is_none(), "{}", problem.unwrap_or_default());
}

/// What is wrong with `status` as the answer to a call.
pub(crate) fn status_is_listed(method: &str, path: &str, status: u16) -> Option<String> {
    let paths = CONTRACT["paths"].as_object().expect("it has paths");
    let template = paths.keys().find(|template| *template == path).or_else(|| {
        paths.keys().find(|template| {
            template.split_once('{').is_some_and(|(before, _)| {
                path.strip_prefix(before)
                    .is_some_and(|rest| !rest.is_empty() && !rest.contains('/'))
            })
        })
    });
    let Some(template) = template else {
        return (status != 404).then(|| format!("{path} is not in the contract, yet got {status}"));
    };
    // Who reads a document may ask for its head alone.
    let method = method.to_ascii_lowercase();
    let call = match &paths[template][&method] {
        Value::Null if method == "head" => &paths[template]["get"],
        call => call,
    };
    let listed = match call {
        Value::Null => status == 405 || (status == 404 && template.contains('{')),
        call => call["responses"].get(status.to_string()).is_some(),
    };
    (!listed).then(|| format!("{method} {template} does not list {status}"))
}

/// The control: what the contract does not list is noticed.
#[test]
fn an_unlisted_status_is_noticed() {
    assert_eq!(status_is_listed("POST", "/api/usages", 201), None);
    assert!(status_is_listed("POST", "/api/usages", 204).is_some());
    assert!(status_is_listed("GET", "/api/usages/x", 201).is_some());
    assert!(status_is_listed("GET", "/none", 200).is_some());
    assert!(status_is_listed("DELETE", "/api/usages", 200).is_some());
    assert_eq!(status_is_listed("DELETE", "/api/usages", 405), None);
}
