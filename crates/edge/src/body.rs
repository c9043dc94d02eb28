//! Reading a body: bounded in bytes and in time, and without a copy when it arrived with the head.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use hyper::body::Incoming;

use crate::connection::ConnectionState;
use crate::problem::{Problem, ProblemKind};

/// Why a body could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BodyError {
    /// It has more bytes than allowed.
    #[error("the body has more than {bytes_max} bytes")]
    TooLarge {
        /// The bound.
        bytes_max: usize,
    },
    /// There is no room for more of it in memory.
    #[error("there is no room for the body in memory")]
    NoRoom,
    /// It did not arrive in time.
    #[error("the body did not arrive in time")]
    TimedOut,
    /// The connection or the framing broke.
    #[error("the body did not arrive whole")]
    Broken,
}

impl BodyError {
    /// The answer. The rest of the body is not waited for, so each ends the connection.
    pub fn problem(&self) -> Problem {
        let problem = match self {
            Self::TooLarge { bytes_max } => Problem::from(ProblemKind::TOO_LARGE)
                .detail(format!("this call accepts at most {bytes_max} bytes")),
            Self::NoRoom => ProblemKind::OVERLOADED.into(),
            Self::TimedOut => ProblemKind::BODY_TIMEOUT.into(),
            Self::Broken => ProblemKind::BROKEN_BODY.into(),
        };
        problem.closing()
    }
}

/// `reserve` is asked before the body in memory grows to so many bytes.
pub(crate) async fn read(
    body: &mut Incoming,
    bytes_max: usize,
    reserve: &mut dyn FnMut(usize) -> bool,
    connection: &ConnectionState,
) -> Result<Bytes, BodyError> {
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(BodyError::TooLarge { bytes_max });
    }
    let Some(first) = next(body, connection).await? else {
        connection.body_read(0);
        return Ok(Bytes::new());
    };
    if !reserve(first.len()) {
        return Err(BodyError::NoRoom);
    }
    if body.is_end_stream() && first.len() <= bytes_max {
        connection.body_read(first.len());
        return Ok(first);
    }
    // A body that declares its length never grows; a chunked one doubles.
    let rest = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut whole = BytesMut::with_capacity(first.len() + rest.min(bytes_max));
    whole.extend_from_slice(&first);
    drop(first);
    loop {
        if whole.len() > bytes_max {
            return Err(BodyError::TooLarge { bytes_max });
        }
        match next(body, connection).await? {
            Some(more) => {
                let bytes = whole.len() + more.len();
                if bytes > whole.capacity() {
                    let capacity = bytes.max(bytes_max.min(2 * whole.capacity()));
                    if !reserve(capacity) {
                        return Err(BodyError::NoRoom);
                    }
                    whole.reserve(capacity - whole.len());
                }
                whole.extend_from_slice(&more);
            }
            None => {
                connection.body_read(whole.len());
                return Ok(whole.freeze());
            }
        }
    }
}

/// The next bytes, or `None` at the end. The core's sweeper wakes this when the time is over.
async fn next(
    body: &mut Incoming,
    connection: &ConnectionState,
) -> Result<Option<Bytes>, BodyError> {
    poll_fn(|context| {
        loop {
            let polled = connection.poll_body(|| {
                let polled = Pin::new(&mut *body).poll_frame(context);
                (polled, body.is_end_stream())
            });
            let frame = match polled {
                Poll::Pending if connection.body_expired() => {
                    return Poll::Ready(Err(BodyError::TimedOut));
                }
                Poll::Pending if connection.has_no_room() => {
                    return Poll::Ready(Err(BodyError::NoRoom));
                }
                Poll::Pending => {
                    connection.await_body(context.waker());
                    return Poll::Pending;
                }
                Poll::Ready(frame) => frame,
            };
            return Poll::Ready(match frame {
                None => Ok(None),
                Some(Err(_)) => Err(BodyError::Broken),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        connection.body_bytes_taken(data.len());
                        Ok(Some(data))
                    }
                    // Trailers mean nothing here.
                    Err(_) => continue,
                },
            });
        }
    })
    .await
}
