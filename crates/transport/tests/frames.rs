//! Frames and streams over real connections.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers fail a test like the test itself does")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use penpal_transport::{
    CloseCode, Connection, Frame, Patience, ReadError, RequestError, Responder, WriteError,
};
use support::foreign::Foreign;
use support::*;

const MAX: u32 = 100_000;

#[tokio::test]
async fn frames_of_every_size_arrive_in_order() {
    let (mut listener, address) = listener();
    let dialer = dialer();
    let (accepted, dialed) = soon(pair(&mut listener, address, &dialer)).await;
    let sizes = [0, 1, 5, 1_199, 2_048, 2_049, 4_096, 0, 65_536, 81_920, 100_000, 3];
    let writing = async {
        let (mut writer, reader) = dialed.connection.open_bi(0).await.unwrap();
        for (index, size) in sizes.into_iter().enumerate() {
            let frame = Frame::new(index as u8, vec![index as u8; size]);
            // Both ways of queueing, several frames to a flush.
            if index % 2 == 0 {
                writer.push_frame(&frame).unwrap();
            } else {
                writer.push(frame.kind, &frame.payload).unwrap();
            }
            if index % 3 == 0 {
                writer.flush().await.unwrap();
            }
        }
        writer.finish().await.unwrap();
        writer.acknowledged().await.unwrap();
        drop(reader);
    };
    let reading = async {
        let (_writer, mut reader) = accepted.connection.accept_bi(MAX).await.unwrap();
        for (index, size) in sizes.into_iter().enumerate() {
            let frame = reader.read().await.unwrap().unwrap();
            assert_eq!((frame.kind, frame.payload), (index as u8, Bytes::from(vec![index as u8; size])));
        }
        assert!(reader.read().await.unwrap().is_none());
        assert!(reader.read().await.unwrap().is_none(), "the end stays the end");
    };
    soon(async { tokio::join!(writing, reading) }).await;
}

#[tokio::test]
async fn a_frame_that_trickles_is_waited_for_and_a_silent_one_is_not() {
    const PATIENCE: Patience = Patience { silence: Duration::from_secs(2), whole: Duration::from_secs(60) };
    let (mut listener, address) = listener();
    let dialer = dialer();
    let (accepted, dialed) = soon(pair(&mut listener, address, &dialer)).await;
    let (mut writer, _) = dialed.connection.open_bi(0).await.unwrap();
    // Five seconds in all, never two without a byte.
    let writing = async {
        let mut pause = tokio::time::interval(Duration::from_millis(250));
        writer.push_raw_for_tests(&[0, 0, 0, 20, 7]);
        for byte in 0..20 {
            pause.tick().await;
            writer.push_raw_for_tests(&[byte]);
            writer.flush().await.unwrap();
        }
        writer.push_raw_for_tests(&[0, 0, 0, 2, 7, 1]);
        writer.flush().await.unwrap();
    };
    let reading = async {
        let (_writer, mut reader) = accepted.connection.accept_bi(MAX).await.unwrap();
        assert!(reader.begun(PATIENCE).await.unwrap());
        let frame = reader.read_within(PATIENCE).await.unwrap().unwrap();
        assert_eq!(frame.payload, Bytes::from_iter(0..20));
        let error = reader.read_within(PATIENCE).await.unwrap_err();
        assert!(matches!(error, ReadError::TimedOut { .. }), "{error:?}");
    };
    soon(async { tokio::join!(writing, reading) }).await;
    // And whoever takes nothing: the frame is larger than what fits on the way.
    let (mut writer, _) = dialed.connection.open_bi(0).await.unwrap();
    writer.push_frame(&Frame::new(7, vec![0; 8 * 1024 * 1024])).unwrap();
    let error = soon(writer.finish_within(PATIENCE)).await.unwrap_err();
    assert!(matches!(error, WriteError::TimedOut { .. }), "{error:?}");
}

#[tokio::test]
async fn dropped_reads_lose_nothing() {
    let (mut listener, address) = listener();
    let dialer = dialer();
    let (accepted, dialed) = soon(pair(&mut listener, address, &dialer)).await;
    let payloads: Vec<Vec<u8>> = (0..40u8).map(|n| vec![n; usize::from(n) * 1_777]).collect();
    let writing = async {
        let (mut writer, _reader) = dialed.connection.open_bi(0).await.unwrap();
        for payload in &payloads {
            writer.send(0, payload).await.unwrap();
        }
        writer.finish().await.unwrap();
        writer.acknowledged().await.unwrap();
    };
    let mut dropped = 0;
    let reading = async {
        let (_writer, mut reader) = accepted.connection.accept_bi(MAX).await.unwrap();
        let mut received = Vec::new();
        loop {
            tokio::select! {
                biased;
                frame = reader.read() => match frame.unwrap() {
                    Some(frame) => received.push(frame.payload.to_vec()),
                    None => break received,
                },
                () = tokio::task::yield_now() => dropped += 1,
            }
        }
    };
    let ((), received) = soon(async { tokio::join!(writing, reading) }).await;
    assert_eq!(received, payloads);
    assert!(dropped > 0, "no read was ever dropped: the test proves nothing");
}

#[tokio::test]
async fn too_large_a_frame_is_refused_on_its_header() {
    let (mut listener, address) = listener();
    let (accepted, client) = tokio::join!(greet(&mut listener), Foreign::like_ours().connect(address));
    let client = client.unwrap();
    let (mut send, _receive) = client.open_bi().await.unwrap();
    // Four gibibytes announced, five bytes sent: an answer can only come of the header.
    send.write_all(&[0xff, 0xff, 0xff, 0xff, 1]).await.unwrap();
    let (_writer, mut reader) = soon(accepted.connection.accept_bi(MAX)).await.unwrap();
    let error = soon(reader.read()).await.unwrap_err();
    assert!(matches!(error, ReadError::TooLarge { got: u32::MAX, max: MAX }), "{error:?}");
    assert!(matches!(reader.read().await, Err(ReadError::Stopped)));
    let stopped = soon(send.stopped()).await.unwrap();
    assert_eq!(stopped, Some(CloseCode::Violation.number().into()));
}

#[tokio::test]
async fn truncated_frame_is_told_from_a_clean_end() {
    let (mut listener, address) = listener();
    let (accepted, client) = tokio::join!(greet(&mut listener), Foreign::like_ours().connect(address));
    let client = client.unwrap();
    for (bytes, expected) in [(&[0, 0][..], (2, 5)), (&[0, 0, 0, 9, 1, 7, 7][..], (7, 14))] {
        let (mut send, _receive) = client.open_bi().await.unwrap();
        send.write_all(bytes).await.unwrap();
        send.finish().unwrap();
        let (_writer, mut reader) = soon(accepted.connection.accept_bi(MAX)).await.unwrap();
        let error = soon(reader.read()).await.unwrap_err();
        let ReadError::Truncated { got, expected: of } = error else { panic!("{error:?}") };
        assert_eq!((got, of), expected);
    }
}

#[tokio::test]
async fn reset_and_stop_carry_their_codes() {
    let (mut listener, address) = listener();
    let dialer = dialer();
    let (accepted, dialed) = soon(pair(&mut listener, address, &dialer)).await;
    let (mut writer, mut back) = dialed.connection.open_bi(MAX).await.unwrap();
    writer.send(1, b"one").await.unwrap();
    let (mut answer, mut reader) = soon(accepted.connection.accept_bi(MAX)).await.unwrap();
    assert_eq!(soon(reader.read()).await.unwrap().unwrap().payload, "one");

    writer.reset(CloseCode::Other(77));
    let error = soon(reader.read()).await.unwrap_err();
    assert!(matches!(error, ReadError::Reset { code: CloseCode::Other(77) }), "{error:?}");
    assert!(matches!(writer.push(1, b""), Err(WriteError::Finished)));

    // The other direction is not concerned, until its reader stops it.
    answer.send(2, b"two").await.unwrap();
    assert_eq!(soon(back.read()).await.unwrap().unwrap().payload, "two");
    back.stop(CloseCode::Busy);
    let stopped = soon(async {
        loop {
            if let Err(error) = answer.send(2, b"three").await {
                break error;
            }
            tokio::task::yield_now().await;
        }
    });
    let error = stopped.await;
    assert!(matches!(error, WriteError::Stopped { code: CloseCode::Busy }), "{error:?}");
}

#[tokio::test]
async fn half_closed_stream_still_answers() {
    let (mut listener, address) = listener();
    let dialer = dialer();
    let (accepted, dialed) = soon(pair(&mut listener, address, &dialer)).await;
    let (mut writer, mut back) = dialed.connection.open_bi(MAX).await.unwrap();
    writer.send(1, b"ask").await.unwrap();
    writer.finish().await.unwrap();
    assert!(matches!(writer.finish().await, Err(WriteError::Finished)));
    let (mut answer, mut reader) = soon(accepted.connection.accept_bi(MAX)).await.unwrap();
    assert_eq!(soon(reader.read()).await.unwrap().unwrap().payload, "ask");
    assert!(soon(reader.read()).await.unwrap().is_none());
    answer.send(2, b"still here").await.unwrap();
    answer.finish().await.unwrap();
    assert_eq!(soon(back.read()).await.unwrap().unwrap().payload, "still here");
}

#[tokio::test]
async fn abandoned_stream_does_not_look_complete() {
    let (mut listener, address) = listener();
    let dialer = dialer();
    let (accepted, dialed) = soon(pair(&mut listener, address, &dialer)).await;
    let (mut writer, _back) = dialed.connection.open_bi(MAX).await.unwrap();
    writer.send(1, b"one of two").await.unwrap();
    let (_answer, mut reader) = soon(accepted.connection.accept_bi(MAX)).await.unwrap();
    assert!(soon(reader.read()).await.unwrap().is_some());
    drop(writer);
    let error = soon(reader.read()).await.unwrap_err();
    assert!(matches!(error, ReadError::Reset { code: CloseCode::Internal }), "{error:?}");
}

#[tokio::test]
async fn full_queue_refuses_and_then_flows() {
    let (mut listener, address) = listener();
    let dialer = dialer();
    let (accepted, dialed) = soon(pair(&mut listener, address, &dialer)).await;
    let (mut writer, _back) = dialed.connection.open_bi(MAX).await.unwrap();
    writer.set_max_queued(1_000);
    writer.push(1, &[0; 2_000]).unwrap();
    let error = writer.push(1, &[0; 1]).unwrap_err();
    assert!(matches!(error, WriteError::Full { queued: 2_005, max: 1_000 }), "{error:?}");
    writer.flush().await.unwrap();
    assert_eq!(writer.queued(), 0);
    writer.push(1, &[0; 1]).unwrap();
    writer.finish().await.unwrap();
    let (_answer, mut reader) = soon(accepted.connection.accept_bi(MAX)).await.unwrap();
    assert_eq!(soon(reader.read()).await.unwrap().unwrap().payload.len(), 2_000);
    assert_eq!(soon(reader.read()).await.unwrap().unwrap().payload.len(), 1);
}

#[tokio::test]
async fn slow_reader_slows_the_writer_and_nothing_else() {
    let (mut listener, address) = listener();
    let dialer = dialer();
    let (accepted, dialed) = soon(pair(&mut listener, address, &dialer)).await;
    let (mut writer, _back) = dialed.connection.open_bi(MAX).await.unwrap();
    // Nobody reads at the relay: after its window is full the flush waits.
    let frame = Frame::new(1, vec![0; 64 * 1024]);
    let mut sent = 0;
    loop {
        writer.push_frame(&frame).unwrap();
        let mut rounds =
            tokio::spawn(several_round_trips(dialed.connection.clone(), accepted.connection.clone()));
        let stuck = tokio::select! {
            flushed = writer.flush() => flushed.is_err(),
            // Other streams work meanwhile, and are the clock: several round trips without progress mean full.
            rounds = soon(&mut rounds) => rounds.is_ok(),
        };
        if stuck {
            break;
        }
        soon(rounds).await.unwrap();
        sent += 1;
        assert!(sent < 1_000, "the writer is not slowed");
    }
    // What was cut off by the dropped flush is still there, whole and in order.
    let (_answer, mut reader) = soon(accepted.connection.accept_bi(MAX)).await.unwrap();
    let reading = async {
        for _ in 0..=sent {
            assert_eq!(reader.read().await.unwrap().unwrap(), frame);
        }
    };
    let (flushed, ()) = soon(async { tokio::join!(writer.flush(), reading) }).await;
    flushed.unwrap();
}

/// Small streams from server to client, each acknowledged.
async fn several_round_trips(client: Connection, server: Connection) {
    for _ in 0..5 {
        let mut writer = server.open_uni().await.unwrap();
        writer.send(9, b"tick").await.unwrap();
        writer.finish().await.unwrap();
        client.accept_uni(10).await.unwrap().read().await.unwrap().unwrap();
        writer.acknowledged().await.unwrap();
    }
}

#[tokio::test]
async fn requests_are_answered_refused_or_time_out() {
    let (mut listener, address) = listener();
    let dialer = dialer();
    let (accepted, dialed) = soon(pair(&mut listener, address, &dialer)).await;
    let server = accepted.connection;
    let serving = tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((frame, responder)) = server.accept_request(MAX, LONG).await {
            match frame.kind {
                1 => responder.respond(&Frame::new(10, frame.payload)).await.unwrap(),
                2 => responder.refuse(CloseCode::Busy),
                3 => kept.push(responder),
                4 => drop(responder),
                5 => responder.into_writer().finish().await.unwrap(),
                kind => panic!("{kind}"),
            }
        }
    });
    let client = &dialed.connection;
    let ask = |kind, wait| {
        let frame = Frame::new(kind, vec![5; 3_000]);
        async move { client.request(&frame, MAX, wait).await }
    };
    assert_eq!(ask(1, LONG).await.unwrap(), Frame::new(10, vec![5; 3_000]));
    assert!(matches!(ask(2, LONG).await, Err(RequestError::Refused { code: CloseCode::Busy })));
    let wait = Duration::from_millis(50);
    assert!(matches!(ask(3, wait).await, Err(RequestError::TimedOut { waited }) if waited == wait));
    assert!(matches!(ask(4, LONG).await, Err(RequestError::Refused { code: CloseCode::Internal })));
    assert!(matches!(ask(5, LONG).await, Err(RequestError::Empty)));
    let small = client.request(&Frame::new(1, vec![5; 3_000]), 2_999, LONG).await;
    assert!(matches!(small, Err(RequestError::Malformed(ReadError::TooLarge { .. }))), "{small:?}");
    client.close(CloseCode::Done, "");
    assert!(matches!(ask(1, LONG).await, Err(RequestError::Lost(_))));
    soon(serving).await.unwrap();
}

#[tokio::test]
async fn request_that_trickles_is_cut_off() {
    let (mut listener, address) = listener();
    let (accepted, client) = tokio::join!(greet(&mut listener), Foreign::like_ours().connect(address));
    let client = client.unwrap();
    let (mut send, _receive) = client.open_bi().await.unwrap();
    send.write_all(&[0, 0, 0, 9, 1, 7]).await.unwrap();
    let (writer, reader) = soon(accepted.connection.accept_bi(MAX)).await.unwrap();
    let error = Responder::read_request(writer, reader, Duration::from_millis(20)).await.unwrap_err();
    assert!(matches!(error, RequestError::TimedOut { .. }), "{error:?}");
    assert_eq!(soon(send.stopped()).await.unwrap(), Some(CloseCode::Violation.number().into()));
}

#[tokio::test]
async fn streams_beyond_the_limit_wait() {
    let (mut listener, address) = listener();
    let dialer = dialer();
    let (accepted, dialed) = soon(pair(&mut listener, address, &dialer)).await;
    let mut open = Vec::new();
    for _ in 0..penpal_transport::limits::MAX_CLIENT_STREAMS {
        open.push(soon(dialed.connection.open_bi(MAX)).await.unwrap());
    }
    let mut beyond = std::pin::pin!(dialed.connection.open_bi(MAX));
    tokio::select! {
        biased;
        stream = &mut beyond => panic!("{stream:?}"),
        () = soon(several_round_trips(dialed.connection.clone(), accepted.connection.clone())) => {}
    }
    accepted.connection.set_max_streams(penpal_transport::limits::MAX_CLIENT_STREAMS * 2);
    soon(beyond).await.unwrap();
}
