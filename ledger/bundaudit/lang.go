package main

import (
	"strings"
	"unicode"
)

// lang is the language of the output: zh or en.
type lang string

// langOf takes the language that the system is set to.
func langOf(getenv func(string) string) lang {
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if v := getenv(name); v != "" {
			if strings.HasPrefix(v, "zh") {
				return "zh"
			}
			return "en"
		}
	}
	return "en"
}

func (l lang) say(en, zh string) string {
	if l == "zh" {
		return zh
	}
	return en
}

// pad fills s to a width of columns; a Chinese character takes two.
func pad(s string, width int) string {
	for _, r := range s {
		width--
		if unicode.Is(unicode.Han, r) || r > 0xff00 {
			width--
		}
	}
	return s + strings.Repeat(" ", max(0, width))
}

// clean makes text out of somebody else's file harmless to a terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == ' ' || unicode.IsPrint(r) {
			return r
		}
		return '�'
	}, s)
}
