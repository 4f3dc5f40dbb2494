//! News of participants as bytes: the payload of a `Presence` frame.

use super::participants::News;
use crate::frame::{FrameError, Reader, put_varint};
use crate::limits::{PARTICIPANTS_MAX, STATE_BYTES_MAX};

/// The news, one after the other. `own` is written as 0: the receiver knows who says so.
pub(crate) fn encode(news: &[News], own: Option<u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for News { id, clock, state } in news {
        put_varint(&mut bytes, if Some(*id) == own { 0 } else { *id });
        put_varint(&mut bytes, *clock);
        let state = state.as_deref().unwrap_or_default();
        put_varint(&mut bytes, state.len() as u64);
        bytes.extend_from_slice(state.as_bytes());
    }
    bytes
}

/// Reads them; what the sender says of itself has the id `direct`.
pub(crate) fn decode(bytes: &[u8], direct: u64) -> Result<Vec<News>, FrameError> {
    let mut reader = Reader::new(bytes);
    let mut news = Vec::new();
    while reader.at() < bytes.len() {
        if news.len() == PARTICIPANTS_MAX {
            return Err(FrameError::Malformed { at: reader.at(), expected: "no more participants than a connection may have" });
        }
        let id = reader.varint("a participant")?;
        let clock = reader.varint("a participant's clock")?;
        let at = reader.at();
        let state = reader.string("a participant's state", STATE_BYTES_MAX)?;
        let json = || serde_json::from_str::<serde::de::IgnoredAny>(&state).is_ok();
        if !state.is_empty() && !json() {
            return Err(FrameError::Malformed { at, expected: "JSON" });
        }
        let id = if id == 0 { direct } else { id };
        news.push(News { id, clock, state: (!state.is_empty()).then(|| state.into()) });
    }
    Ok(news)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_survive_and_the_sender_is_stamped() {
        let news = |id, state: Option<&str>| News { id, clock: 300, state: state.map(Into::into) };
        let said = [news(7, Some("{\"name\":\"Ä\"}")), news(8, None), news(9, Some("null"))];
        assert_eq!(decode(&encode(&said, Some(8)), 8).as_deref(), Ok(&said[..]));
        let stamped = decode(&encode(&said, Some(7)), 4711).expect("news");
        assert_eq!(stamped[0].id, 4711);
    }

    #[test]
    fn what_is_no_json_or_too_long_is_refused() {
        let news = |state: &str| encode(&[News { id: 1, clock: 1, state: Some(state.into()) }], None);
        assert!(matches!(decode(&news("{"), 1), Err(FrameError::Malformed { at: 2, .. })));
        let (most, more) = ("1".repeat(STATE_BYTES_MAX), "1".repeat(STATE_BYTES_MAX + 1));
        assert!(decode(&news(&most), 1).is_ok());
        assert!(matches!(decode(&news(&more), 1), Err(FrameError::TooLarge { .. })));
        let cut = news("true");
        assert!((1..cut.len()).all(|end| decode(&cut[..end], 1).is_err()));
    }
}
