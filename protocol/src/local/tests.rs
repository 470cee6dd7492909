use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn name() -> impl Strategy<Value = KeyName> {
    "[A-Za-z0-9._-]{1,64}".prop_map(|text| text.parse().unwrap())
}

fn request() -> impl Strategy<Value = Request> {
    let delivery = prop_oneof![Just(Delivery::Page), Just(Delivery::Inject)];
    prop_oneof![
        any::<u16>().prop_map(|version| Request::Hello { version }),
        (name(), delivery).prop_map(|(name, delivery)| Request::Open { name, delivery }),
        Just(Request::Status),
    ]
}

fn reply() -> impl Strategy<Value = Reply> {
    let level = (1..=2_u8).prop_map(|code| level_of(code).unwrap());
    let state = (0..=3_u8).prop_map(|code| state_of(code).unwrap());
    let code = (1..=8_u8).prop_map(|code| RefusalCode::of(code).unwrap());
    prop_oneof![
        (any::<u16>(), level).prop_map(|(version, protection)| Reply::Welcome {
            version,
            protection
        }),
        (name(), any::<u32>()).prop_map(|(name, version)| Reply::Page { name, version }),
        (code, "\\PC{0,80}", "\\PC{0,80}")
            .prop_map(|(code, rule, advice)| Reply::Refused(Refusal { code, rule, advice })),
        vec(any::<u8>(), 0..500).prop_map(Reply::Status),
        (name(), any::<u32>(), state).prop_map(|(name, version, state)| Reply::Changed {
            name,
            version,
            state
        }),
        (any::<u16>(), name(), "\\PC{0,20}", "\\PC{0,60}").prop_map(
            |(port, name, provider, token)| Reply::Proxied {
                port,
                name,
                provider,
                token
            }
        ),
    ]
}

proptest! {
    #[test]
    fn a_request_survives_the_wire(request in request(), after in vec(any::<u8>(), 0..9)) {
        let mut bytes = request.encode();
        let whole = bytes.len();
        bytes.extend(after);
        let (payload, taken) = split_frame(&bytes).unwrap().unwrap();
        prop_assert_eq!(taken, whole);
        prop_assert_eq!(Request::parse(payload), Ok(request));
    }

    #[test]
    fn a_reply_survives_the_wire(reply in reply()) {
        let bytes = reply.encode();
        let (payload, taken) = split_frame(&bytes).unwrap().unwrap();
        prop_assert_eq!(taken, bytes.len());
        prop_assert_eq!(Reply::parse(payload), Ok(reply));
    }

    #[test]
    fn a_message_with_a_tail_is_refused(request in request(), tail in vec(any::<u8>(), 1..9)) {
        let mut payload = request.encode().split_off(4);
        payload.extend(tail);
        prop_assert_eq!(Request::parse(&payload), Err(LocalError::Malformed));
    }

    #[test]
    fn a_message_that_is_cut_is_refused(reply in reply(), keep in 1..100_usize) {
        let payload = reply.encode().split_off(4);
        prop_assume!(keep < payload.len() && !matches!(reply, Reply::Status(_)));
        prop_assert_eq!(Reply::parse(&payload[..keep]), Err(LocalError::Malformed));
    }

    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in vec(any::<u8>(), 0..300)) {
        if let Ok(Some((payload, taken))) = split_frame(&bytes) {
            prop_assert!(taken <= bytes.len() && payload.len() + 4 == taken);
        }
        if let Ok(request) = Request::parse(&bytes) {
            prop_assert_eq!(&request.encode()[4..], &bytes[..]);
        }
        if let Ok(reply) = Reply::parse(&bytes) {
            prop_assert_eq!(&reply.encode()[4..], &bytes[..]);
        }
    }
}

#[test]
fn a_frame_is_waited_for_until_it_is_whole() {
    let bytes = Request::Hello { version: VERSION }.encode();
    for keep in 0..bytes.len() {
        assert_eq!(split_frame(&bytes[..keep]), Ok(None), "{keep} bytes");
    }
}

#[test]
fn a_frame_above_the_bound_is_refused_by_its_length_alone() {
    assert_eq!(split_frame(&[0, 1, 0, 1]), Err(LocalError::Length(65_537)));
    assert_eq!(split_frame(&[0; 4]), Err(LocalError::Length(0)));
    assert_eq!(split_frame(&[0, 1, 0, 0]), Ok(None));
}

#[test]
fn a_request_is_no_reply() {
    let payload = Request::Status.encode().split_off(4);
    assert_eq!(Reply::parse(&payload), Err(LocalError::Type(3)));
}
