package contracts

import "slices"

const (
	kindGenesis = "genesis"
	keyGenesis  = "genesis"
)

// Genesis begins a ledger: the clock, the first rulebook, and the venue and the first regulator, active at once. It is
// signed by two people of each, with keys that stand in it.
type Genesis struct {
	Clock     string      `json:"clock"`  // "wall" or "scripted"
	Sample    bool        `json:"sample"` // a sample market: custody keys may sign everything, scripted time is allowed
	Start     Millis      `json:"start"`  // scripted time at the beginning; equals notBefore on a wall clock
	Rulebook  Rulebook    `json:"rulebook"`
	Calendars []Calendar  `json:"calendars"`
	Venue     Application `json:"venue"`
	Regulator Application `json:"regulator"`
}

// genesisRecord is what every rule may read of the genesis.
type genesisRecord struct {
	Sample    bool `json:"sample"`
	Venue     ID   `json:"venue"`
	Regulator ID   `json:"regulator"` // the first; there may be more
}

// VenueOf gives the venue's member id.
func VenueOf(st State) (ID, error) {
	v, err := st.Get(keyGenesis)
	if err != nil || v == nil {
		return "", err
	}
	g, err := Read[genesisRecord](v)
	if err != nil {
		return "", err
	}
	return g.Venue, nil
}

// RulesOf gives the rulebook in force.
func RulesOf(st State) (*Rulebook, error) {
	v, err := st.Get(keyRulebook)
	if err != nil || v == nil {
		return nil, err
	}
	return Read[Rulebook](v)
}

func applyGenesis(t *tx, b *Genesis) *Refusal {
	switch b.Clock {
	case "wall":
	case "scripted":
		if !b.Sample {
			return refuse("genesis.clock", "only a sample market may have a scripted clock").at("clock")
		}
	default:
		return refuse("genesis.clock", "the clock is wall or scripted").at("clock")
	}
	if b.Start != t.cmd.NotBefore {
		return refuse("genesis.start", "start equals notBefore").at("start")
	}
	if b.Rulebook.Version != 1 {
		return refuse("rulebook.version", "the first version is 1").at("rulebook.version")
	}
	if !slices.Contains(b.Venue.Roles, RoleVenue) || !slices.Contains(b.Regulator.Roles, RoleRegulator) {
		return refuse("genesis.roles", "the venue has the role venue and the regulator the role regulator")
	}
	if b.Venue.affiliated(b.Regulator.Controllers) {
		return refuse("genesis.roles", "venue and regulator have no common controller")
	}
	t.rules = &b.Rulebook
	venue, regulator := t.newID("venue"), t.newID("regulator")
	for _, m := range []struct {
		id    ID
		a     *Application
		field string
	}{{venue, &b.Venue, "venue"}, {regulator, &b.Regulator, "regulator"}} {
		if r := t.enrol(m.id, m.a, Active); r != nil {
			return r.at(m.field)
		}
		if r := t.selfSigned(m.id, m.a, DutyMaker, DutyChecker); r != nil {
			return r
		}
		for _, s := range t.signers {
			if s.custody && !b.Sample {
				return refuse("key.custody", "a key in custody can't sign a rulebook").at(m.field)
			}
		}
	}
	t.put(keyGenesis, genesisRecord{Sample: b.Sample, Venue: venue, Regulator: regulator})
	t.put(keyRulebook, b.Rulebook)
	for _, c := range b.Calendars {
		t.put(KeyCalendar(int64(c.Year)), c)
	}
	if b.Clock == "scripted" {
		t.put(keyClock, clockRecord{Now: b.Start})
	}
	t.event("ledger.began", venue)
	return nil
}
