//! Reads each body and answers a fixed 201: what the edge costs without a store behind it. Takes an
//! address and a number of cores, 127.0.0.1:3300 and 1 when none are given.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edge::{Answer, Budget, Config, CoreContext, Deadlines, LogPolicy, Request, Service};
use http::header::{CONTENT_TYPE, HeaderValue};
use http_body_util::Full;
use telemetry::{Metrics, Route};

struct Fixed;

impl Service for Fixed {
    async fn call(&self, mut request: Request) -> Answer {
        if let Err(error) = request.read_body(1 << 20).await {
            return Answer::problem(Route::Usages, &error.problem());
        }
        let mut response = edge::Response::new(Full::new(Bytes::from_static(
            br#"{"id":"00000000-0000-7000-8000-000000000000"}"#,
        )));
        *response.status_mut() = http::StatusCode::CREATED;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Answer::new(Route::Usages, response)
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:3300".to_owned());
    let cores = arguments.next().map_or(1, |text| text.parse().expect("cores are a number"));
    let config = Config {
        deadlines: Deadlines {
            header: Duration::from_secs(10),
            body: Duration::from_secs(30),
            idle: Duration::from_secs(75),
            taken_bytes_per_second_min: 1,
            linger: Duration::from_secs(2),
        },
        connections_max: 100_000,
        budget: Arc::new(Budget::new(1 << 30)),
        log: LogPolicy { sample: 0, slow: Duration::MAX },
        access: Arc::default(),
        name: "fixed",
        core_first: 0,
    };
    let listeners = edge::listen::bind(&[address], cores).expect("the address is free");
    let metrics = Metrics::new(cores);
    let running =
        edge::start(&config, listeners, &metrics, |_: CoreContext| Fixed).expect("the cores start");
    running.join();
}
