from argus_cli.tally import Answer, Rejection, Request, Tally

REQUEST = Request(b"...", "application/json", "192.0.2.1", ("a", None, "b"))
ANSWER = Answer(202, accepted=2, rejected=(Rejection(1, "invalid_event", "no url"),))


def test_accepted_events_are_known_by_id_and_refused_ones_by_code() -> None:
    tally = Tally()

    tally.note(REQUEST, ANSWER)

    assert tally.acknowledged == 3
    assert tally.accepted_ids == {"a", "b"}
    assert tally.rejected == {"invalid_event": 1}
    assert not tally.unacknowledged


def test_an_event_accepted_again_must_become_a_duplicate() -> None:
    tally = Tally()

    tally.note(REQUEST, ANSWER)
    tally.note(REQUEST, ANSWER)

    assert tally.repeated == 2
    assert tally.acknowledged == 6
    assert tally.accepted_ids == {"a", "b"}


def test_an_event_that_was_refused_is_not_expected_as_a_row() -> None:
    tally = Tally()

    tally.note(REQUEST, Answer(202, accepted=1, rejected=(*ANSWER.rejected, Rejection(0, "x", ""))))

    assert tally.accepted_ids == {"b"}


def test_a_request_without_acknowledgement_promises_nothing() -> None:
    tally = Tally()

    tally.note(REQUEST, Answer(503, detail="Kafka is away", attempts=6))

    assert tally.acknowledged == 0
    assert tally.retried == 5
    assert tally.unacknowledged == {"503 Kafka is away": 1}
