package contractstest

import (
	"fmt"
	"strings"
)

// line is one line of a script, taken apart: words without "=", and options in their order.
type line struct {
	words   []string
	options []option
}

type option struct {
	key, value string
	used       bool
}

// parseLine splits at spaces; a value in double or single quotes may hold spaces, and "" is the empty value.
func parseLine(s string) (*line, error) {
	l := &line{}
	for s = strings.TrimSpace(s); s != ""; s = strings.TrimLeft(s, " \t") {
		end := strings.IndexAny(s, " \t=\"")
		if end < 0 {
			end = len(s)
		}
		word, rest := s[:end], s[end:]
		if !strings.HasPrefix(rest, "=") {
			if word == "" || strings.HasPrefix(rest, `"`) {
				return nil, fmt.Errorf("a stray quote")
			}
			l.words, s = append(l.words, word), rest
			continue
		}
		rest = rest[1:]
		var value string
		if rest != "" && (rest[0] == '"' || rest[0] == '\'') {
			i := strings.IndexByte(rest[1:], rest[0])
			if i < 0 {
				return nil, fmt.Errorf("%s: an open quote", word)
			}
			value, s = rest[1:i+1], rest[i+2:]
		} else {
			i := strings.IndexAny(rest, " \t")
			if i < 0 {
				i = len(rest)
			}
			value, s = rest[:i], rest[i:]
		}
		l.options = append(l.options, option{key: word, value: value})
	}
	return l, nil
}

// take gives an option's value, or otherwise, and marks it as used.
func (l *line) take(key, otherwise string) string {
	for i := range l.options {
		if l.options[i].key == key {
			l.options[i].used = true
			otherwise = l.options[i].value
		}
	}
	return otherwise
}

// under gives the options below a prefix, with the prefix cut off, and marks them as used.
func (l *line) under(prefix string) (out []option) {
	for i, o := range l.options {
		if rest, ok := strings.CutPrefix(o.key, prefix+"."); ok {
			l.options[i].used = true
			out = append(out, option{key: rest, value: o.value})
		}
	}
	return out
}

// name is the word after member and kind: what the command is about, or what it makes.
func (l *line) name() string {
	if len(l.words) > 2 {
		return l.words[2]
	}
	return ""
}
