package main

import (
	"errors"
	"fmt"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"

	"github.com/bund-exchange/bund/contracts/proposal"
)

const maxKeyBytes = 256

// gets answers with the values of keys in this definition's namespace, for the other definition and for readers.
func gets(stub shim.ChaincodeStubInterface, args [][]byte) ([]byte, error) {
	if len(args) == 0 || len(args) > maxReads {
		return nil, fmt.Errorf("want 1 to %d keys", maxReads)
	}
	keys := make([]string, len(args))
	for i, a := range args {
		if !proper(a) {
			return nil, errors.New("a key is malformed")
		}
		keys[i] = string(a)
	}
	values, err := stub.GetMultipleStates(keys...)
	if err != nil {
		return nil, fmt.Errorf("couldn't read: %w", err)
	}
	if len(values) != len(keys) {
		return nil, fmt.Errorf("the peer gave %d values for %d keys", len(values), len(keys))
	}
	return proposal.Values(values), nil
}

// proper reports whether a key may be one of State: printable ASCII.
func proper(key []byte) bool {
	for _, b := range key {
		if b <= ' ' || b > '~' {
			return false
		}
	}
	return len(key) > 0 && len(key) <= maxKeyBytes
}
