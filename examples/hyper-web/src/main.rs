//! A web server on tokio and hyper: HTTP/1.1 and HTTP/2 without encryption, a task for each connection. Nothing in it knows of
//! IncludeOS.
//!
//! `hyper-web [ADDRESS]`: the address to listen at, 0.0.0.0:80 if none is given. `/` greets, `/echo` gives a body back, `/slow` takes
//! a second, `/stop` ends the program when all that was asked for is answered.

use std::convert::Infallible;
use std::time::Duration;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::Notify;

type Body = BoxBody<Bytes, hyper::Error>;

static STOP: Notify = Notify::const_new();

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "0.0.0.0:80".to_owned());
    // A descriptor for each connection: as many as the system has.
    rlimit::increase_nofile_limit(u64::MAX)?;
    let listener = TcpListener::bind(&address).await?;
    println!("listening at {}", listener.local_addr()?);
    let server = Builder::new(TokioExecutor::new());
    let connections = GracefulShutdown::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted?.0,
            () = STOP.notified() => break,
        };
        stream.set_nodelay(true)?;
        let connection = server.serve_connection(TokioIo::new(stream), service_fn(answer));
        let connection = connections.watch(connection.into_owned());
        tokio::spawn(async move {
            // A client that goes away is its own affair.
            let _ = connection.await;
        });
    }
    drop(listener);
    connections.shutdown().await;
    Ok(())
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    Ok(match (request.method(), request.uri().path()) {
        (&Method::GET, "/") => text("Hello from hyper!\n"),
        (&Method::POST, "/echo") => Response::new(request.into_body().boxed()),
        (&Method::GET, "/slow") => {
            tokio::time::sleep(Duration::from_secs(1)).await;
            text("Slow, but here.\n")
        }
        (&Method::GET, "/stop") => {
            STOP.notify_one();
            text("Good bye.\n")
        }
        _ => {
            let mut response = text("There is no such page.\n");
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    })
}

fn text(text: &'static str) -> Response<Body> {
    Response::new(Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {}).boxed())
}
