package contractstest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/bund-exchange/bund/contracts"
)

// expect checks one "expect …" line against the last step. With rewrite it gives the line as it would be right; refusals
// are a person's claim and never written anew.
func (s *Scene) expect(text string, rewrite bool) (string, error) {
	l, err := parseLine(strings.TrimPrefix(text, "expect"))
	if err != nil {
		return "", err
	}
	if len(l.words) == 0 || s.last == nil {
		return "", fmt.Errorf("nothing to expect")
	}
	st := s.last
	if l.words[0] != "refused" && st.Refusal != nil {
		return "", fmt.Errorf("refused: %w", st.Refusal)
	}
	switch l.words[0] {
	case "refused":
		return text, expectRefused(st, l)
	case "accepted", "allowed":
		return text, nil
	case "repeated":
		if st.Result == nil || !st.Result.Repeated {
			return "", fmt.Errorf("this was not the recorded answer")
		}
		return text, nil
	case "events":
		var got []string
		for _, e := range st.Result.Events {
			got = append(got, e.Name)
		}
		return check(text, "expect events "+strings.Join(got, " "), rewrite)
	case "audience":
		return s.expectAudience(text, rewrite)
	case "state", "private":
		return s.expectState(text, l, rewrite)
	}
	return "", fmt.Errorf("there is no expectation %q", l.words[0])
}

func check(text, right string, rewrite bool) (string, error) {
	if !rewrite && text != right {
		return "", fmt.Errorf("it is: %s", right)
	}
	return right, nil
}

func expectRefused(st *Step, l *line) error {
	if st.Refusal == nil {
		return fmt.Errorf("it was accepted")
	}
	if len(l.words) != 2 && (len(l.words) != 4 || l.words[2] != "at") {
		return fmt.Errorf("want expect refused CODE [at FIELD]")
	}
	if string(st.Refusal.Code) != l.words[1] || len(l.words) == 4 && st.Refusal.Field != l.words[3] {
		return fmt.Errorf("it was refused with %w", st.Refusal)
	}
	return nil
}

func (s *Scene) expectAudience(text string, rewrite bool) (string, error) {
	got := []string{}
	for _, id := range s.last.Result.Audience {
		got = append(got, s.nameOf(string(id)))
	}
	slices.Sort(got)
	if s.last.Result.Public {
		got = []string{"public"}
	}
	return check(text, "expect audience "+strings.Join(got, " "), rewrite)
}

// keyOf says where a noun's record stands. "D1/2" is the second period of D1.
func (s *Scene) keyOf(noun, name string) (string, error) {
	name, number, _ := strings.Cut(name, "/")
	switch noun {
	case "rulebook", "genesis", "clock", "loss", "ledger-snapshot", "reads":
		return noun, nil
	case "calendar":
		return noun + "/" + name, nil
	}
	if noun == "key" {
		k, err := s.key(nil, name)
		return contracts.KeyKey(k.Public.ID()), err
	}
	if noun == "person" {
		actor, _, _ := strings.Cut(name, ".")
		a := s.actors[actor]
		id, err := s.id("person:" + name)
		if err != nil || a == nil {
			return "", fmt.Errorf("no person is called %s", name)
		}
		return contracts.KeyPerson(a.ID, id), nil
	}
	id, err := s.id(name)
	if noun == "product" {
		if p, perr := s.id(name + ".product"); perr == nil {
			id, err = p, nil
		}
	}
	if noun == "negotiation" {
		if p, perr := s.id(name + ".negotiation"); perr == nil {
			id, err = p, nil
		}
	}
	if err != nil {
		return "", err
	}
	n, _ := atoi(number)
	switch noun {
	case "period":
		return contracts.KeyPeriod(id, n), nil
	case "settlement":
		return contracts.KeySettlement(id, n), nil
	case "certificate":
		return contracts.KeyCertificate(id, n), nil
	case "escrow", "settled", "debt":
		return "clr/" + noun + "/" + string(id), nil
	case "objection":
		on, err := s.id(number)
		return contracts.KeyObjection(on, id), err
	}
	return noun + "/" + string(id), nil
}

// privateOf says which commitment of a record "expect private" opens.
var privateOf = map[string]string{"escrow": "balance", "debt": "owed", "settlement": "value", "usage": "totals", "agreement": "terms", "period": "terms"}

// expectState compares fields of a record: "expect state grant D1 state=active warned=80"; "expect private settlement
// D1/1 usage=32000" compares those of the value that the record commits to. "gone" as the only word says there is none.
func (s *Scene) expectState(text string, l *line, rewrite bool) (string, error) {
	if len(l.words) < 3 {
		return "", fmt.Errorf("want expect %s NOUN NAME field=value …", l.words[0])
	}
	key, err := s.keyOf(l.words[1], l.words[2])
	if err != nil {
		return "", err
	}
	b, err := s.Oracle.Get(key)
	if err != nil {
		return "", err
	}
	if len(l.words) == 4 && l.words[3] == "gone" {
		if b != nil {
			return "", fmt.Errorf("it is there")
		}
		return text, nil
	}
	if b == nil {
		return "", fmt.Errorf("the ledger has no %s", key)
	}
	if l.words[0] == "private" {
		c, _ := pick(b, privateOf[l.words[1]])
		o, ok := s.opening(contracts.Hash(c))
		if !ok {
			return "", fmt.Errorf("the ledger keeps no opening for %s of %s", privateOf[l.words[1]], key)
		}
		b = o.Value
	}
	right := "expect " + strings.Join(l.words, " ")
	for _, o := range l.options {
		v, err := pick(b, o.key)
		if err != nil {
			return "", err
		}
		if name := s.nameOf(v); name != v {
			v = name
		} else if want, err := s.id(o.value); err == nil && want != "" && string(want) == v {
			v = o.value
		} else if t, ok := wallTime(v); ok {
			v = t
		}
		if strings.Contains(v, " ") {
			v = `"` + v + `"`
		}
		right += " " + o.key + "=" + v
	}
	return check(text, right, rewrite)
}

// wallTime writes milliseconds that fall on a minute as a script reads them.
func wallTime(v string) (string, bool) {
	n, err := atoi(v)
	if t := contracts.Millis(n); err != nil || n < 1e12 || t.Check() != nil || n%60_000 != 0 {
		return "", false
	}
	day := contracts.Millis(n).Time().In(contracts.Shanghai)
	if day.Hour() == 0 && day.Minute() == 0 {
		return day.Format("2006-01-02"), true
	}
	return day.Format("2006-01-02T15:04"), true
}

// pick gives a field of a canonical object as a script writes it; an absent one is "".
func pick(b []byte, path string) (string, error) {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return "", err
	}
	for _, name := range strings.Split(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[name]
		case []any:
			i, err := atoi(name)
			if err != nil || i < 0 || int(i) >= len(x) {
				return "", fmt.Errorf("there is no element %q", name)
			}
			v = x[i]
		default:
			return "", fmt.Errorf("there is no field %q", path)
		}
	}
	switch x := v.(type) {
	case nil:
		return "", nil
	case []any:
		words := make([]string, len(x))
		for i := range x {
			words[i] = fmt.Sprint(x[i])
		}
		return strings.Join(words, ","), nil
	}
	return fmt.Sprint(v), nil
}

// nameOf gives the actor or object that an id stands for, or the word itself.
func (s *Scene) nameOf(word string) string {
	if contracts.ID(word).Check() != nil {
		return word
	}
	var names []string
	for n, a := range s.actors {
		if string(a.ID) == word {
			names = append(names, n)
		}
		if string(a.Node) == word {
			names = append(names, n+".node")
		}
	}
	for n, id := range s.names {
		if string(id) == word {
			names = append(names, n)
		}
	}
	if len(names) == 0 {
		return word
	}
	return slices.Min(names)
}
