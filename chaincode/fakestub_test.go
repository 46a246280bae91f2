package main

import (
	"errors"
	"fmt"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/bund-exchange/bund/contracts/proposal"
)

// fakeStub is one call of a definition within a transaction. It knows what a peer would have allowed and fails the test for
// all else; methods that chaincode has no use for aren't there and panic.
type fakeStub struct {
	shim.ChaincodeStubInterface
	ch        *fakeChannel
	peer      *fakePeer
	tx        *fakeTx
	space     string
	args      [][]byte
	transient map[string][]byte
	creator   []byte
	inner     bool // called by the other definition

	batching bool
	batch    map[string][]byte
}

func (s *fakeStub) GetArgs() [][]byte                        { return s.args }
func (s *fakeStub) GetCreator() ([]byte, error)              { return s.creator, nil }
func (s *fakeStub) GetTxID() string                          { return "tx" }
func (s *fakeStub) GetChannelID() string                     { return "bund" }
func (s *fakeStub) GetTransient() (map[string][]byte, error) { return s.transient, nil }

func (s *fakeStub) GetTxTimestamp() (*timestamppb.Timestamp, error) {
	return timestamppb.New(s.ch.wall), nil
}

// read gives committed state, whatever the transaction has written, and notes the version.
func (s *fakeStub) read(key string) ([]byte, error) {
	if key == "" {
		return nil, errors.New("key must not be an empty string")
	}
	if s.tx.reads[s.space] == nil {
		s.tx.reads[s.space] = map[string]uint64{}
	}
	v := s.ch.spaces[s.space][key]
	if v == nil {
		s.tx.reads[s.space][key] = 0
		return []byte{}, nil // as over the wire
	}
	s.tx.reads[s.space][key] = v.block
	return append([]byte{}, v.value...), nil
}

func (s *fakeStub) GetState(key string) ([]byte, error) {
	s.tx.trips++
	return s.read(key)
}

func (s *fakeStub) GetMultipleStates(keys ...string) (values [][]byte, err error) {
	s.tx.trips++
	for _, k := range keys {
		v, err := s.read(k)
		if err != nil {
			return nil, err
		}
		values = append(values, v)
	}
	return values, nil
}

// InvokeChaincode reaches the other definition on the same channel, for reading only.
func (s *fakeStub) InvokeChaincode(name string, args [][]byte, channel string) *peer.Response {
	s.tx.trips++
	switch c := s.peer.definitions[name]; {
	case channel != "":
		s.ch.t.Errorf("%s calls into the channel %q", s.space, channel)
	case s.inner:
		s.ch.t.Errorf("%s calls back into %s", s.space, name)
	case c == nil || name == s.space:
		s.ch.t.Errorf("%s calls %s", s.space, name)
	case string(args[0]) != proposal.Gets:
		s.ch.t.Errorf("%s calls %s of %s", s.space, args[0], name)
	default:
		return c.Invoke(&fakeStub{ch: s.ch, peer: s.peer, tx: s.tx, space: name, args: args, transient: s.transient, creator: s.creator, inner: true})
	}
	return &peer.Response{Status: 500}
}

func (s *fakeStub) put(key string, value []byte) error {
	switch {
	case key == "" || key[0] == 0:
		return fmt.Errorf("the key %q can't be written", key)
	case s.inner:
		s.ch.t.Errorf("%s writes %s when it is read from", s.space, key)
	case s.batching:
		if _, twice := s.batch[key]; twice {
			s.ch.t.Errorf("%s is written twice", key)
		}
		s.batch[key] = value
		return nil
	}
	s.tx.trips++
	s.apply(key, value)
	return nil
}

func (s *fakeStub) apply(key string, value []byte) {
	if s.tx.writes[s.space] == nil {
		s.tx.writes[s.space] = map[string][]byte{}
	}
	s.tx.writes[s.space][key] = value
}

func (s *fakeStub) PutState(key string, value []byte) error {
	if len(value) == 0 {
		s.ch.t.Errorf("an empty value for %s, which reads as absent", key)
	}
	return s.put(key, append([]byte{}, value...))
}

func (s *fakeStub) DelState(key string) error { return s.put(key, nil) }

func (s *fakeStub) StartWriteBatch() { s.batching, s.batch = true, map[string][]byte{} }

func (s *fakeStub) FinishWriteBatch() error {
	if len(s.batch) > 0 {
		s.tx.trips++
	}
	for k, v := range s.batch {
		s.apply(k, v)
	}
	s.batching, s.batch = false, nil
	return nil
}
