// Package dictionary is a data product's field dictionary (字段字典): what both the market's manual and the owner's node
// mean by a product's fields. Its digest is the Facts.Dictionary of a product version.
package dictionary

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/policy"
)

// Tag of the digest.
const Tag = "bund/dictionary/v1"

// Type is how a field's values are written and compared.
type Type string

// The types. Their canonical texts are described at canonical.
const (
	Text    Type = "text"
	Coded   Type = "code"    // one of the field's code list
	Integer Type = "integer" // of 64 bits
	Decimal Type = "decimal" // exact, up to 38 digits
	Boolean Type = "boolean"
	Date    Type = "date" // a civil day in Shanghai
	Instant Type = "time" // to the millisecond
)

// Format is a rule for the text of a field beyond its type.
type Format string

// CreditCodeFormat is GB 32100-2015 with both check characters.
const CreditCodeFormat Format = "credit_code"

// Dictionary lists the fields in the order of an answer, and says which one is the key and which ones tell time.
type Dictionary struct {
	Fields []Field `json:"fields" yaml:"fields"`
	Key    string  `json:"key" yaml:"key"` // name of the text field that lookups go by
	// AsOf names the date or time field that says for when a row's facts hold; KnownAt the one that says since when
	// the source knew them, so that a back-test sees what was known then. A date counts from its first moment.
	AsOf    string `json:"asOf,omitempty" yaml:"asOf"`
	KnownAt string `json:"knownAt,omitempty" yaml:"knownAt"`
	// LagHours is the promise that KnownAt follows AsOf within so many hours. 0 promises nothing.
	LagHours int64 `json:"lagHours,omitempty" yaml:"lagHours"`
}

// Field is one entry of the dictionary. Titles are Chinese first.
type Field struct {
	Name    string `json:"name" yaml:"name"` // also the column's name in every source
	Title   string `json:"title" yaml:"title"`
	TitleEn string `json:"titleEn" yaml:"titleEn"`
	Type    Type   `json:"type" yaml:"type"`
	Unit    string `json:"unit,omitempty" yaml:"unit"`
	Scale   int64  `json:"scale,omitempty" yaml:"scale"` // decimal places that a decimal may have
	// Nullable fields may be empty, and then say what that means.
	Nullable bool   `json:"nullable" yaml:"nullable"`
	Empty    string `json:"empty,omitempty" yaml:"empty"`
	EmptyEn  string `json:"emptyEn,omitempty" yaml:"emptyEn"`
	Codes    []Code `json:"codes,omitempty" yaml:"codes"`
	Format   Format `json:"format,omitempty" yaml:"format"`
	// Tolerant fields keep values outside their code list or format and count them in the quality figures. Others
	// refuse them.
	Tolerant bool `json:"tolerant,omitempty" yaml:"tolerant"`
}

// Code is an entry of a code list.
type Code struct {
	Code    string `json:"code" yaml:"code"`
	Title   string `json:"title" yaml:"title"`
	TitleEn string `json:"titleEn" yaml:"titleEn"`
}

// Read reads a dictionary that a person wrote, as YAML or JSON. Unknown, duplicate and case-folded keys and a
// second document are refused.
func Read(b []byte) (*Dictionary, error) {
	if len(b) > canon.MaxBytes {
		return nil, fmt.Errorf("couldn't read field dictionary: more than %d bytes", canon.MaxBytes)
	}
	var s Dictionary
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&s); err != nil {
		return nil, fmt.Errorf("couldn't read field dictionary: %w", err)
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, errors.New("couldn't read field dictionary: something follows it")
	}
	if err := s.Check(); err != nil {
		return nil, fmt.Errorf("couldn't read field dictionary: %w", err)
	}
	return &s, nil
}

// Digest is the dictionary's digest over its canonical bytes.
func (s *Dictionary) Digest() contracts.Hash {
	return contracts.HashOf(Tag, canon.Marshal(s))
}

// Names lists the fields in its order.
func (s *Dictionary) Names() []string {
	names := make([]string, len(s.Fields))
	for i := range s.Fields {
		names[i] = s.Fields[i].Name
	}
	return names
}

// Index gives the place of a field, -1 when there is none.
func (s *Dictionary) Index(name string) int {
	for i := range s.Fields {
		if s.Fields[i].Name == name {
			return i
		}
	}
	return -1
}

// Check reports a dictionary that contradicts itself.
func (s Dictionary) Check() error {
	if len(s.Fields) == 0 || len(s.Fields) > policy.MaxFields {
		return fmt.Errorf("want 1 to %d fields", policy.MaxFields)
	}
	seen, size := map[string]bool{}, 0
	for i := range s.Fields {
		f := &s.Fields[i]
		// What Digest hashes has limits of its own; half of it leaves room for escapes and keys.
		if size += f.size(); size > canon.MaxBytes/2 || len(f.Codes) > canon.MaxElements {
			return fmt.Errorf("the dictionary's texts exceed %d bytes or a code list %d codes", canon.MaxBytes/2, canon.MaxElements)
		}
		if err := f.Check(); err != nil {
			return fmt.Errorf("field %d %q: %w", i+1, clip(f.Name), err)
		}
		if folded := strings.ToLower(f.Name); seen[folded] {
			return fmt.Errorf("field %q is there twice, or once more in other case", f.Name)
		} else {
			seen[folded] = true
		}
	}
	k := s.Index(s.Key)
	if k < 0 || s.Fields[k].Type != Text || s.Fields[k].Nullable || s.Fields[k].Tolerant {
		return errors.New("key names a text field that is neither nullable nor tolerant")
	}
	for _, name := range []string{s.AsOf, s.KnownAt} {
		if name == "" {
			continue
		}
		i := s.Index(name)
		if i < 0 || s.Fields[i].Type != Date && s.Fields[i].Type != Instant || s.Fields[i].Nullable {
			return fmt.Errorf("asOf and knownAt name date or time fields that are not nullable, %q is none", clip(name))
		}
	}
	switch {
	case s.KnownAt != "" && s.AsOf == "":
		return errors.New("knownAt needs asOf")
	case s.AsOf != "" && s.AsOf == s.KnownAt:
		return errors.New("asOf and knownAt are one field")
	case s.LagHours < 0 || s.LagHours > 0 && s.KnownAt == "":
		return errors.New("lagHours is above zero and needs knownAt")
	}
	return nil
}

// Check reports an entry that contradicts itself.
func (f Field) Check() error {
	if !fieldName(f.Name) {
		return errors.New("a name has 1 to 63 letters, digits and _, and begins with a letter")
	}
	for _, text := range []string{f.Title, f.TitleEn, f.Unit, f.Empty, f.EmptyEn} {
		if !plain(text) {
			return errors.New("a title, unit or meaning is not UTF-8 or has a control character")
		}
	}
	switch f.Type {
	case Text, Coded, Integer, Decimal, Boolean, Date, Instant:
	default:
		return fmt.Errorf("no type is called %q", clip(string(f.Type)))
	}
	switch {
	case f.Title == "" || f.TitleEn == "":
		return errors.New("title or titleEn is empty")
	case f.Scale < 0 || f.Scale > 18 || f.Scale > 0 && f.Type != Decimal:
		return errors.New("scale is 0 to 18, and for decimals only")
	case f.Nullable != (f.Empty != "") || f.Nullable != (f.EmptyEn != ""):
		return errors.New("a nullable field says in empty and emptyEn what empty means, and only that")
	case (f.Type == Coded) != (len(f.Codes) > 0):
		return errors.New("a code field has a code list, and only that")
	case f.Format != "" && (f.Format != CreditCodeFormat || f.Type != Text):
		return errors.New("the only format is credit_code, for text")
	case f.Tolerant && f.Type != Coded && f.Format == "":
		return errors.New("tolerant is about a code list or a format, and there is none")
	}
	seen := map[string]bool{}
	for _, c := range f.Codes {
		if c.Code == "" || c.Title == "" || c.TitleEn == "" || len(c.Code) > 64 || seen[c.Code] || !plain(c.Code+c.Title+c.TitleEn) {
			return fmt.Errorf("code %q is empty, there twice or without titles", clip(c.Code))
		}
		seen[c.Code] = true
	}
	return nil
}

func (f *Field) size() int {
	n := 200 + len(f.Title) + len(f.TitleEn) + len(f.Unit) + len(f.Empty) + len(f.EmptyEn)
	for _, c := range f.Codes {
		n += 40 + len(c.Code) + len(c.Title) + len(c.TitleEn)
	}
	return n
}

// plain reports text without control characters other than tab and line feed.
func plain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return r < 0x20 && r != '\t' && r != '\n' || r >= 0x7f && r < 0xa0 || r == 0xfeff
	})
}

func fieldName(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	return s != "" && len(s) <= 63 && strings.IndexByte(letters, s[0]) >= 0 && strings.Trim(s, letters+"0123456789_") == ""
}

// clip keeps a name that somebody else wrote from filling an error.
func clip(s string) string {
	if len(s) > 40 {
		return strings.ToValidUTF8(s[:40], "") + "…"
	}
	return s
}
