package contracts

const keyClock = "clock"

// clockRecord exists on a ledger whose genesis says "scripted", until clock.release.
type clockRecord struct {
	Now      Millis `json:"now"`
	Released bool   `json:"released"`
}

// NextTime gives the time of the next entry: on a wall-clock ledger the larger of the previous entry's time and wall,
// on a scripted one the time that the venue last set. Scripted time exists only in tests and the sample market.
func NextTime(st State, previous, wall Millis) (Millis, error) {
	v, err := st.Get(keyClock)
	if err != nil {
		return 0, err
	}
	if v != nil {
		c, err := Read[clockRecord](v)
		if err != nil {
			return 0, err
		}
		if !c.Released {
			return max(previous, c.Now), nil
		}
	}
	return max(previous, wall), nil
}

// EntryTime gives the time of a command's entry. It is NextTime, but a scripted ledger begins at the time that its genesis
// names, and never runs ahead of wall.
func EntryTime(st State, cmd *Command, previous, wall Millis) (Millis, error) {
	now, err := NextTime(st, previous, wall)
	if err != nil {
		return 0, err
	}
	switch b := cmd.body.(type) {
	case *Genesis:
		if b.Clock == "scripted" && b.Start <= wall {
			if v, err := st.Get(keyGenesis); v == nil || err != nil {
				return b.Start, err
			}
		}
	case *ClockAdvance:
		if b.To > wall {
			return 0, refuse("clock.ahead", "scripted time may not run ahead of the wall clock").at("to")
		}
	}
	return now, nil
}

// Scripted reports whether the ledger's time is scripted now.
func Scripted(st State) (bool, error) {
	v, err := st.Get(keyClock)
	if err != nil || v == nil {
		return false, err
	}
	c, err := Read[clockRecord](v)
	return err == nil && !c.Released, err
}

// ClockAdvance sets a scripted ledger's time for the entries after it. Never past wall time, see EntryTime.
type ClockAdvance struct {
	To Millis `json:"to"`
}

// ClockRelease gives the ledger back to wall time, for good.
type ClockRelease struct {
	Reason string `json:"reason"`
}

func applyClockAdvance(t *tx, b *ClockAdvance) *Refusal {
	c, ok := get[clockRecord](t, keyClock)
	if !ok || c.Released {
		return refuse("clock.wall", "this ledger runs on wall time")
	}
	if b.To <= c.Now {
		return refuse("clock.backward", "scripted time only moves forward").at("to")
	}
	c.Now = b.To
	t.put(keyClock, c)
	t.event("clock.advanced", "")
	return nil
}

func applyClockRelease(t *tx, _ *ClockRelease) *Refusal {
	c, ok := get[clockRecord](t, keyClock)
	if !ok || c.Released {
		return refuse("clock.wall", "this ledger runs on wall time")
	}
	c.Released = true
	t.put(keyClock, c)
	t.event("clock.released", "")
	return nil
}
