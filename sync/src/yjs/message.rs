//! The encoding of the messages of y-protocols (`PROTOCOL.md` of y-protocols, and the message types
//! of y-websocket).

use crate::frame::{FrameError, FrameReader, check};
use crate::limits::{PARTICIPANTS_MAX, STATE_BYTES_MAX};
use crate::presence::{News, read_id_and_clock};
use exostate::varint;

const SYNC: u64 = 0;
const AWARENESS: u64 = 1;
const QUERY_AWARENESS: u64 = 3;

const STEP_1: u64 = 0;
const STEP_2: u64 = 1;
const UPDATE: u64 = 2;

/// One message.
#[derive(Debug, PartialEq)]
pub(super) enum Message<'a> {
    /// A state vector. The receiver answers with the updates that the sender lacks.
    Step1(&'a [u8]),
    /// The last update of the answer to a `Step1`.
    Step2(&'a [u8]),
    Update(&'a [u8]),
    Awareness(Vec<News>),
    QueryAwareness,
    /// A message of another type.
    Unknown,
}

impl<'a> Message<'a> {
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let mut reader = FrameReader::new(bytes);
        Ok(match reader.varint("a message's type")? {
            SYNC => match reader.varint("a sync message's type")? {
                STEP_1 => Self::Step1(buffer(&mut reader)?),
                STEP_2 => Self::Step2(buffer(&mut reader)?),
                UPDATE => Self::Update(buffer(&mut reader)?),
                _ => Self::Unknown,
            },
            AWARENESS => Self::Awareness(awareness(buffer(&mut reader)?)?),
            QUERY_AWARENESS => Self::QueryAwareness,
            _ => Self::Unknown,
        })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut put = |head: &[u64], content: &[u8]| {
            head.iter().for_each(|number| varint::put(&mut bytes, *number));
            varint::put(&mut bytes, content.len() as u64);
            bytes.extend_from_slice(content);
        };
        match self {
            Self::Step1(vector) => put(&[SYNC, STEP_1], vector),
            Self::Step2(update) => put(&[SYNC, STEP_2], update),
            Self::Update(update) => put(&[SYNC, UPDATE], update),
            Self::Awareness(news) => {
                let mut content = Vec::new();
                // A client in JavaScript would throw on the other news.
                let news = || news.iter().filter(|news| news.fits());
                varint::put(&mut content, news().count() as u64);
                for News { id, clock, state } in news() {
                    varint::put(&mut content, *id);
                    varint::put(&mut content, *clock);
                    let state = state.as_deref().unwrap_or(GONE);
                    varint::put(&mut content, state.len() as u64);
                    content.extend_from_slice(state.as_bytes());
                }
                put(&[AWARENESS], &content);
            }
            Self::QueryAwareness => varint::put(&mut bytes, QUERY_AWARENESS),
            Self::Unknown => {}
        }
        bytes
    }
}

/// The state of a participant that has left.
const GONE: &str = "null";

fn buffer<'a>(reader: &mut FrameReader<'a>) -> Result<&'a [u8], FrameError> {
    let expected = "as many bytes as were announced";
    let length = reader.varint(expected)?;
    reader.take(usize::try_from(length).unwrap_or(usize::MAX), expected)
}

fn awareness(bytes: &[u8]) -> Result<Vec<News>, FrameError> {
    let mut reader = FrameReader::new(bytes);
    let mut news = Vec::new();
    let at = reader.at();
    let count = reader.varint("a number of clients")?;
    if count > PARTICIPANTS_MAX as u64 {
        return Err(FrameError::Malformed {
            at,
            expected: "no more clients than a connection may have",
        });
    }
    for _ in 0..count {
        let (id, clock) = read_id_and_clock(&mut reader)?;
        let at = reader.at();
        let state = std::str::from_utf8(buffer(&mut reader)?)
            .map_err(|_| FrameError::Malformed { at, expected: "UTF-8" })?;
        if serde_json::from_str::<serde::de::IgnoredAny>(state).is_err() {
            return Err(FrameError::Malformed { at, expected: "JSON" });
        }
        let length = state.len() as u64;
        check("a participant's awareness state", length, STATE_BYTES_MAX)?;
        news.push(News { id, clock, state: (state != GONE).then(|| state.into()) });
    }
    Ok(news)
}

#[cfg(test)]
mod tests {
    use super::*;
    use yrs::sync::{Message as Theirs, SyncMessage};
    use yrs::updates::decoder::Decode;
    use yrs::updates::encoder::Encode;

    #[test]
    fn messages_agree_with_those_of_yrs() {
        let update = b"bytes of an update".to_vec();
        let theirs = [
            Theirs::Sync(SyncMessage::SyncStep2(update.clone())).encode_v1(),
            Theirs::Sync(SyncMessage::Update(update.clone())).encode_v1(),
            Theirs::AwarenessQuery.encode_v1(),
        ];
        let ours = [Message::Step2(&update), Message::Update(&update), Message::QueryAwareness];
        for (theirs, ours) in theirs.iter().zip(&ours) {
            assert_eq!(Message::decode(theirs).as_ref(), Ok(ours));
            assert_eq!(&ours.encode(), theirs);
        }
    }

    #[test]
    fn awareness_agrees_with_that_of_yrs() {
        let news = vec![
            News { id: 300, clock: 7, state: Some(r#"{"name":"Ä"}"#.into()) },
            News { id: 2, clock: 1, state: None },
        ];
        let bytes = Message::Awareness(news).encode();
        let Ok(Theirs::Awareness(update)) = Theirs::decode_v1(&bytes) else {
            panic!("no awareness")
        };
        assert_eq!(update.clients.len(), 2);
        assert_eq!(Theirs::Awareness(update).encode_v1().len(), bytes.len());
        assert_eq!(Message::decode(&bytes).map(|message| message.encode()), Ok(bytes.clone()));
        assert!((1..bytes.len()).all(|end| Message::decode(&bytes[..end]).is_err()));
    }

    #[test]
    fn ids_and_clocks_beyond_the_range_of_yjs_are_neither_sent_nor_accepted() {
        let id_max = (1 << 53) - 1;
        let clock_max = u64::from(u32::MAX);
        let of = |id, clock| News { id, clock, state: Some("1".into()) };
        let ours = Message::Awareness(vec![
            of(id_max + 1, 1),
            of(id_max, clock_max),
            of(2, clock_max + 1),
        ])
        .encode();
        let Ok(Theirs::Awareness(update)) = Theirs::decode_v1(&ours) else {
            panic!("no awareness")
        };
        let clocks: Vec<_> =
            update.clients.iter().map(|(id, entry)| (id.get(), u64::from(entry.clock))).collect();
        assert_eq!(clocks, [(id_max, clock_max)]);
        for (id, clock) in [(id_max + 1, 1), (1, clock_max + 1)] {
            let mut content = vec![1];
            [id, clock].into_iter().for_each(|number| varint::put(&mut content, number));
            content.extend(b"\x011");
            let bytes = [&[1, content.len().to_le_bytes()[0]][..], &content].concat();
            assert!(
                matches!(Message::decode(&bytes), Err(FrameError::Malformed { .. })),
                "{id} {clock}"
            );
        }
    }

    #[test]
    fn malformed_messages_are_refused_and_unknown_ones_are_skipped() {
        assert_eq!(Message::decode(&[9, 1, 2]), Ok(Message::Unknown));
        assert_eq!(Message::decode(&[0, 7]), Ok(Message::Unknown));
        assert!(Message::decode(&[]).is_err());
        assert!(Message::decode(&[0, 1, 200, 1, 5]).is_err());
        assert!(matches!(
            Message::decode(&[1, 5, 1, 1, 1, 1, b'{']),
            Err(FrameError::Malformed { expected: "JSON", .. })
        ));
    }
}
