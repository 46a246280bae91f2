package packed

import (
	_ "embed"
	"strings"
)

// The words. A word's place in its file is its code, for ever: what is on a ledger was packed with it. A new word goes to the
// end of its file, and is read from then on; it is written when the number beside the file is raised, in a later release. All
// who read a channel must know a word before anybody writes it, and endorsers begin to at once, with a sequence of the chaincode.
var (
	//go:embed names.txt
	namesFile string // names of members of JSON objects
	//go:embed texts.txt
	textsFile string // whole strings, or with a / or : at the end how strings begin
)

const (
	namesWritten = 298
	textsWritten = 239
)

var (
	names, nameCodes = read(namesFile, namesWritten, 32*256/forms)
	texts, textCodes = read(textsFile, textsWritten, 16*256)
	longest          = max(length(names), length(texts))
)

// read gives all words, and the codes of those that are written. It panics when a word stands there twice or has no code: no
// build with such a file runs.
func read(file string, written, limit int) (words []string, codes map[string]int) {
	words, codes = strings.Fields(file), map[string]int{}
	for i, w := range words {
		codes[w] = i
	}
	if len(codes) != len(words) || len(words) > limit || written > len(words) {
		panic("packed: too many words, too few, or one of them twice")
	}
	for _, w := range words[written:] {
		delete(codes, w)
	}
	return words, codes
}

func length(words []string) (n int) {
	for _, w := range words {
		n = max(n, len(w))
	}
	return n
}

// What stands around a name: its form is a head's place times two, plus one when a string follows.
var (
	heads = [...]string{`{"`, `,"`, `","`}
	tails = [...]string{`":`, `":"`}
)

const forms = len(heads) * len(tails)

// Codes are bytes that no ASCII text has. Every other byte stands for itself.
const (
	name   = 0x80 // to 0x9f: name's code and form, in 5 bits and the next byte
	text   = 0xa0 // to 0xaf: text's code, in 4 bits and the next byte
	hex16  = 0xb0 // 16 bytes, as 32 digits
	hex32  = 0xb1 // 32 bytes
	hexN   = 0xb2 // a count and as many bytes, as two digits each
	number = 0xb3 // an unsigned varint, in decimal
	plain  = 0xb4 // a count and as many bytes, which are not ASCII
)
