package proposal

import (
	"fmt"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/packed"
)

// Stored gives the form in which a value of State stands under its key on the channel. None is empty.
func Stored(value []byte) []byte { return packed.Pack(value) }

// ParseStored accepts what Stored writes, with words of packed written out or not.
func ParseStored(b []byte) ([]byte, error) {
	v, err := packed.Unpack(b, contracts.MaxEntryBytes)
	if err != nil {
		return nil, fmt.Errorf("proposal: a stored value is malformed: %w", err)
	}
	return v, nil
}
