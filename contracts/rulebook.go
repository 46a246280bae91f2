package contracts

import (
	"errors"
	"fmt"
	"slices"
)

const keyRulebook = "rulebook"

// Rulebook holds every parameter that a rule reads. It is signed by the venue and a regulator; nothing that decides
// lives in configuration or in a constant. Changed behaviour of Apply is a branch on Version.
type Rulebook struct {
	Version int64 `json:"version"` // 1, 2, 3 …

	TimeSkewSec           int64             `json:"timeSkewSec"`                     // how far a signer's clock may run ahead
	PublicityWorkingDays  int64             `json:"publicityWorkingDays"`            // between review and registration
	AdmissionFiles        []FileKind        `json:"admissionFiles"`                  // what an applicant's file must hold
	AdmissionChecks       []string          `json:"admissionChecks"`                 // identity-check methods that must have passed
	ListingRequires       []AttestationType `json:"listingRequires"`                 // attestations, valid at listing
	Scenarios             []Scenario        `json:"scenarios"`                       // 无场景不交易: the closed list of use scenarios
	BuyerFeeBasisPoints   int64             `json:"buyerFeeBasisPoints"`             // venue's fee on top of the price, 1/10000
	ProviderFeeBasisPoint int64             `json:"providerFeeBasisPoint"`           // venue's fee out of the price, 1/10000
	WarnPercents          []int64           `json:"warnPercents"`                    // of escrow or credit, ascending; the last precedes a hold
	MaxGraceDays          int64             `json:"maxGraceDays"`                    // ceiling of an agreement's grace
	MaxUnitPrice          MicroYuan         `json:"maxUnitPrice"`                    // ceiling of any per-call price
	MaxConsentDays        int64             `json:"maxConsentDays"`                  // ceiling of a consent's term
	MaxStaleSec           int64             `json:"maxStaleSec"`                     // ceiling of a grant's maxStaleSec
	WitnessQuorum         int64             `json:"witnessQuorum"`                   // cosignatures that freshness needs
	EvaluationsPerSubject int64             `json:"evaluationsPerSubject,omitempty"` // joint scores of one company under an agreement; 0: no joint scoring
	LogKey                string            `json:"logKey"`                          // note verifier key of the published log
	WitnessKeys           []string          `json:"witnessKeys"`                     // note verifier keys of the witnesses
}

// Scenario is a use that data may be traded for.
type Scenario struct {
	Code string `json:"code"` // "sme-tax-loan-pre"
	Zh   string `json:"zh"`
	En   string `json:"en"`
}

// Check reports a rulebook that can't be run.
func (b Rulebook) Check() error {
	switch {
	case b.Version < 1:
		return errors.New("version starts at 1")
	case b.TimeSkewSec < 0 || b.TimeSkewSec > 300:
		return errors.New("timeSkewSec is 0 to 300")
	case b.PublicityWorkingDays < 1 || b.PublicityWorkingDays > 60:
		return errors.New("publicityWorkingDays is 1 to 60")
	case len(b.Scenarios) == 0:
		return errors.New("no scenario, no trade: scenarios is empty")
	case b.BuyerFeeBasisPoints < 0 || b.BuyerFeeBasisPoints > 5000 || b.ProviderFeeBasisPoint < 0 || b.ProviderFeeBasisPoint > 5000:
		return errors.New("fees are 0 to 5000 basis points")
	case b.MaxGraceDays < 0 || b.MaxGraceDays > 90, b.MaxConsentDays < 1 || b.MaxConsentDays > 3660:
		return errors.New("maxGraceDays is 0 to 90, maxConsentDays 1 to 3660")
	case b.MaxStaleSec < 0 || b.MaxStaleSec > 3600:
		return errors.New("maxStaleSec is 0 to 3600")
	case b.EvaluationsPerSubject < 0 || b.EvaluationsPerSubject > 100:
		return errors.New("evaluationsPerSubject is 0 to 100")
	case b.WitnessQuorum < 0 || b.WitnessQuorum > int64(len(b.WitnessKeys)):
		return errors.New("witnessQuorum exceeds the number of witnessKeys")
	case len(b.WarnPercents) == 0 || !slices.IsSorted(b.WarnPercents) || b.WarnPercents[0] < 1 || b.WarnPercents[len(b.WarnPercents)-1] > 100:
		return errors.New("warnPercents is a rising list within 1 to 100")
	}
	seen := map[string]bool{}
	for _, s := range b.Scenarios {
		if s.Code == "" || seen[s.Code] {
			return fmt.Errorf("scenario codes are unique and not empty")
		}
		seen[s.Code] = true
	}
	return nil
}

func (b *Rulebook) scenario(code string) bool {
	return slices.ContainsFunc(b.Scenarios, func(s Scenario) bool { return s.Code == code })
}

// RulebookAdopt replaces the rulebook. The venue signs it, and the regulator named in it.
type RulebookAdopt struct {
	Regulator ID       `json:"regulator"`
	Rulebook  Rulebook `json:"rulebook"`
}

// CalendarPublish adds or replaces the working-day calendar of one year. A change of a year that has begun is
// refused when it would move a day that has passed.
type CalendarPublish struct {
	Calendar Calendar `json:"calendar"`
	Source   string   `json:"source"` // the notice it follows, with its number
}

// KeyCalendar is where a year's calendar stands.
func KeyCalendar(year int64) string { return fmt.Sprintf("calendar/%04d", year) }

var rulebookKinds = []*spec{
	kind(kindGenesis, applyGenesis, public, outsider),
	kind("rulebook.adopt", applyRulebookAdopt, twoPeople(RoleVenue), public, personal),
	kind("calendar.publish", applyCalendarPublish, twoPeople(RoleVenue), public, personal),
	kind("clock.advance", applyClockAdvance, by(RoleVenue), public),
	kind("clock.release", applyClockRelease, by(RoleVenue), public),
}

func applyRulebookAdopt(t *tx, b *RulebookAdopt) *Refusal {
	if r := t.signedBy(b.Regulator, RoleRegulator, DutyMaker, DutyChecker); r != nil {
		return r
	}
	if b.Rulebook.Version != t.rules.Version+1 {
		return refuse("rulebook.version", "the next version is %d", t.rules.Version+1).at("rulebook.version")
	}
	t.put(keyRulebook, b.Rulebook)
	t.event("rulebook.adopted", "")
	return nil
}

func applyCalendarPublish(t *tx, b *CalendarPublish) *Refusal {
	if old, ok := get[Calendar](t, KeyCalendar(int64(b.Calendar.Year))); ok {
		today := DayOf(t.env.Now)
		for d := DayOf(Day(fmt.Sprintf("%04d-01-01", old.Year)).Start()); d <= today && d.Start().Time().In(Shanghai).Year() == old.Year; d = DayOf(d.End()) {
			if old.Working(d) != b.Calendar.Working(d) {
				return refuse("calendar.past", "%s has passed and can't change", d).at("calendar")
			}
		}
	}
	t.put(KeyCalendar(int64(b.Calendar.Year)), b.Calendar)
	t.event("calendar.published", "")
	return nil
}

// workingDaysAfter gives the end of the n-th working day after the ledger's day.
func (t *tx) workingDaysAfter(n int64) (Millis, *Refusal) {
	var cals []Calendar
	year := int64(t.env.Now.Time().In(Shanghai).Year())
	for _, y := range []int64{year, year + 1} {
		if c, ok := get[Calendar](t, KeyCalendar(y)); ok {
			cals = append(cals, *c)
		}
	}
	end, err := AddWorkingDays(t.env.Now, int(n), cals)
	if err != nil {
		return 0, refuse("calendar.missing", "the working-day calendar doesn't reach that far")
	}
	return end, nil
}
