package evidence

import (
	"io"

	"github.com/bund-exchange/bund/contracts"
)

// Remember puts memories in front of the rule book.
func (c *Config) Remember(decode func(contracts.Submission) (*contracts.Command, error), apply func(contracts.State, contracts.Env, *contracts.Command) (*contracts.Result, error)) {
	c.decode, c.apply = decode, apply
}

// EncodeOpening, DecodeManifest and Frames are for fuzz targets.
var (
	EncodeOpening  = encodeOpening
	ParseManifest  = parseManifest
	DecodeManifest = decodeManifest
)

// Frames splits b.
func Frames(r io.Reader, limit int) (out [][]byte, err error) {
	f := frames{r: r, limit: limit}
	for {
		b, err := f.next(&arena{size: 1 << 10})
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		out = append(out, b)
	}
}
