//! The encoding of participants' news: the payload of a `Presence` frame.

use super::participants::News;
use crate::frame::{FrameError, FrameReader};
use crate::limits::{CLOCK_MAX, PARTICIPANT_ID_MAX, PARTICIPANTS_MAX, STATE_BYTES_MAX};
use exostate::varint;

/// Encodes the news, one after the other. The id `own` is written as 0, because the receiver knows
/// the sender's id.
pub(crate) fn encode(news: &[News], own: Option<u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    // An item with an id that is too large came from this replica itself, before its id changed.
    for News { id, clock, state } in news.iter().filter(|news| Some(news.id) == own || news.fits())
    {
        varint::put(&mut bytes, if Some(*id) == own { 0 } else { *id });
        varint::put(&mut bytes, *clock);
        let state = state.as_deref().unwrap_or_default();
        varint::put(&mut bytes, state.len() as u64);
        bytes.extend_from_slice(state.as_bytes());
    }
    bytes
}

/// Decodes news. The id `direct` replaces the id 0, which stands for the sender.
pub(crate) fn decode(bytes: &[u8], direct: u64) -> Result<Vec<News>, FrameError> {
    let mut reader = FrameReader::new(bytes);
    let mut news = Vec::new();
    while reader.at() < bytes.len() {
        if news.len() == PARTICIPANTS_MAX {
            return Err(FrameError::Malformed {
                at: reader.at(),
                expected: "no more participants than a connection may have",
            });
        }
        let (id, clock) = read_id_and_clock(&mut reader)?;
        let at = reader.at();
        let state = reader.string("a participant's state", STATE_BYTES_MAX)?;
        let json = || serde_json::from_str::<serde::de::IgnoredAny>(&state).is_ok();
        if !state.is_empty() && !json() {
            return Err(FrameError::Malformed { at, expected: "JSON" });
        }
        let id = if id == 0 { direct } else { id };
        let news_of = News { id, clock, state: (!state.is_empty()).then(|| state.into()) };
        // A replica with another kind of id may have an id that is too large to be shown. This is
        // not an error.
        if news_of.fits() {
            news.push(news_of);
        }
    }
    Ok(news)
}

/// Reads the id and the clock of a participant, and refuses numbers that are too large: other
/// implementations would throw on them, or read other numbers.
pub(crate) fn read_id_and_clock(reader: &mut FrameReader<'_>) -> Result<(u64, u64), FrameError> {
    let mut number = |what, max, expected| {
        let at = reader.at();
        reader.varint(what).and_then(|number| {
            if number <= max { Ok(number) } else { Err(FrameError::Malformed { at, expected }) }
        })
    };
    let id = number("a participant", PARTICIPANT_ID_MAX, "a participant of at most 53 bits")?;
    Ok((
        id,
        number("a participant's clock", CLOCK_MAX, "a participant's clock of at most 32 bits")?,
    ))
}

impl News {
    /// Whether every implementation can read the id and the clock.
    pub(crate) fn fits(&self) -> bool {
        self.id <= PARTICIPANT_ID_MAX && self.clock <= CLOCK_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_round_trip_and_carry_the_id_of_the_sender() {
        let news = |id, state: Option<&str>| News { id, clock: 300, state: state.map(Into::into) };
        let said = [news(7, Some("{\"name\":\"Ä\"}")), news(8, None), news(9, Some("null"))];
        assert_eq!(decode(&encode(&said, Some(8)), 8).as_deref(), Ok(&said[..]));
        let stamped = decode(&encode(&said, Some(7)), 4711).expect("news");
        assert_eq!(stamped[0].id, 4711);
    }

    #[test]
    fn ids_and_clocks_past_their_limits_are_refused_with_their_place() {
        let said = |id, clock| {
            let mut bytes = Vec::new();
            [300, 1, 0, id, clock, 0]
                .into_iter()
                .for_each(|number| varint::put(&mut bytes, number));
            bytes
        };
        assert_eq!(decode(&said(PARTICIPANT_ID_MAX, CLOCK_MAX), 1).map(|news| news.len()), Ok(2));
        let past_id = decode(&said(PARTICIPANT_ID_MAX + 1, 1), 1);
        assert_eq!(
            past_id,
            Err(FrameError::Malformed { at: 4, expected: "a participant of at most 53 bits" })
        );
        let past_clock = decode(&said(7, CLOCK_MAX + 1), 1);
        assert_eq!(
            past_clock,
            Err(FrameError::Malformed {
                at: 5,
                expected: "a participant's clock of at most 32 bits"
            })
        );
        let gone = News { id: PARTICIPANT_ID_MAX + 1, clock: 1, state: None };
        assert!(encode(std::slice::from_ref(&gone), None).is_empty());
        // The sender's id does not come from the news.
        assert_eq!(decode(&said(0, 1), PARTICIPANT_ID_MAX + 1).map(|news| news.len()), Ok(1));
    }

    #[test]
    fn states_that_are_invalid_json_or_too_long_are_refused() {
        let news =
            |state: &str| encode(&[News { id: 1, clock: 1, state: Some(state.into()) }], None);
        assert!(matches!(decode(&news("{"), 1), Err(FrameError::Malformed { at: 2, .. })));
        let most = "1".repeat(STATE_BYTES_MAX);
        let more = "1".repeat(STATE_BYTES_MAX + 1);
        assert!(decode(&news(&most), 1).is_ok());
        assert!(matches!(decode(&news(&more), 1), Err(FrameError::TooLarge { .. })));
        let cut = news("true");
        assert!((1..cut.len()).all(|end| decode(&cut[..end], 1).is_err()));
    }
}
