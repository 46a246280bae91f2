package contractstest

import (
	"encoding/hex"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/bund-exchange/bund/contracts"
)

// override sets the field at a dotted path of JSON names ("offer.policy.fields", "nodes.0.quotaCalls") to the value that
// a script's word stands for.
func (s *Scene) override(v reflect.Value, path, word string) error {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		return s.override(v.Elem(), path, word)
	}
	if path == "" {
		return s.assign(v, word)
	}
	name, rest, _ := strings.Cut(path, ".")
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			tag, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			if tag == name {
				return s.override(v.Field(i), rest, word)
			}
		}
	case reflect.Slice:
		i, err := strconv.Atoi(name)
		if err == nil && i == v.Len() {
			v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
		}
		if err == nil && i >= 0 && i < v.Len() {
			return s.override(v.Index(i), rest, word)
		}
	}
	return fmt.Errorf("there is no field %q", name)
}

func (s *Scene) assign(v reflect.Value, word string) error {
	switch v.Interface().(type) {
	case contracts.ID:
		id, err := s.id(word)
		v.SetString(string(id))
		return err
	case contracts.Hash:
		v.SetString(string(s.hash(word)))
		return nil
	case contracts.PublicKey:
		if k, err := s.key(nil, word); err == nil {
			word = string(k.Public)
		}
		v.SetString(word)
		return nil
	case contracts.Millis:
		t, err := s.time(word)
		v.SetInt(int64(t))
		return err
	case []byte:
		b, err := hex.DecodeString(word)
		v.SetBytes(b)
		return err
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(word)
	case reflect.Bool:
		v.SetBool(word == "true" || word == "yes")
	case reflect.Int64, reflect.Int:
		if n, err := strconv.ParseInt(word, 10, 64); err == nil {
			v.SetInt(n)
			return nil
		}
		t, err := s.time(word)
		v.SetInt(int64(t))
		return err
	case reflect.Slice:
		v.Set(reflect.Zero(v.Type()))
		if word == "" {
			return nil
		}
		for i, w := range strings.Split(word, ",") {
			v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
			if err := s.assign(v.Index(i), w); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("a script can't set a %s", v.Type())
	}
	return nil
}

// id resolves a name to what it stands for: a member, version (P.product: its product), agreement (D.negotiation: its
// negotiation), consent …; "key:" and "person:" before an actor's key name give those; "unknown" is nobody's.
func (s *Scene) id(word string) (contracts.ID, error) {
	if kind, name, ok := strings.Cut(word, ":"); ok {
		k, err := s.key(nil, name)
		if err != nil {
			return "", err
		}
		if kind == "key" {
			return k.Public.ID(), nil
		}
		actor, _, _ := strings.Cut(name, ".")
		a := s.actors[actor]
		if a == nil || kind != "person" {
			return "", fmt.Errorf("no person is called %s", name)
		}
		for i, p := range []contracts.PublicKey{a.Admin.Public, a.Maker.Public, a.Check.Public, a.Audit.Public} {
			if p == k.Public {
				return a.Person(i), nil
			}
		}
		return s.names[name], nil
	}
	if word == "" || contracts.ID(word).Check() == nil {
		return contracts.ID(word), nil
	}
	if word == "unknown" {
		return contracts.ObjectID("nobody", "unknown"), nil
	}
	if id, ok := s.names[word]; ok {
		return id, nil
	}
	if a := s.actors[word]; a != nil {
		return a.ID, nil
	}
	if a := s.actors[strings.TrimSuffix(word, ".node")]; a != nil {
		return a.Node, nil
	}
	return "", fmt.Errorf("nothing is called %s", word)
}

func (s *Scene) hash(word string) contracts.Hash {
	if word == "" || contracts.Hash(word).Check() == nil {
		return contracts.Hash(word)
	}
	return contracts.HashOf("test/corpus", []byte(word))
}

// time reads "+3d", "-90s" from the scripted now, "2026-05-01" and "2026-05-01T10:00" in Shanghai, and milliseconds.
func (s *Scene) time(word string) (contracts.Millis, error) {
	if d, err := duration(strings.TrimLeft(word, "+-")); err == nil && word[0] == '+' {
		return s.M.Now.Add(d), nil
	} else if err == nil && word[0] == '-' {
		return s.M.Now.Add(-d), nil
	}
	for _, layout := range []string{"2006-01-02", "2006-01-02T15:04"} {
		if t, err := time.ParseInLocation(layout, word, contracts.Shanghai); err == nil {
			return contracts.Millis(t.UnixMilli()), nil
		}
	}
	n, err := strconv.ParseInt(word, 10, 64)
	return contracts.Millis(n), err
}

// duration reads "3d", "8h", "20m", "30s" as seconds.
func duration(word string) (int64, error) {
	unit := map[byte]int64{'d': 86400, 'h': 3600, 'm': 60, 's': 1}
	if word == "" || unit[word[len(word)-1]] == 0 {
		return 0, fmt.Errorf("want a time like 3d, 8h, 20m or 30s")
	}
	n, err := strconv.ParseInt(word[:len(word)-1], 10, 64)
	return n * unit[word[len(word)-1]], err
}
