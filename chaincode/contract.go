package main

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"

	"github.com/bund-exchange/bund/contracts/proposal"
	"github.com/bund-exchange/bund/contracts/records"
	"github.com/bund-exchange/bund/contracts/verifying"
)

// Sizes of what is remembered between transactions. It may change how fast an answer comes, never the answer, and never
// what is read: endorsers with other memories must make the same read set.
const (
	busyKeys     = 64     // signers' keys with tables, in each of two generations; 20 MB
	knownRecords = 10_000 // decoded records, in each of two generations
)

// contract is one definition. Many transactions run in it at once.
type contract struct {
	config
	now     func() time.Time // the endorser's own clock
	log     *slog.Logger
	keys    *verifying.Verifier
	records *records.Cache
}

var _ shim.Chaincode = (*contract)(nil)

func newContract(cfg config, log *slog.Logger) *contract {
	return &contract{config: cfg, now: time.Now, log: log, keys: verifying.New(busyKeys), records: records.New(knownRecords)}
}

// Init has nothing to do.
func (c *contract) Init(shim.ChaincodeStubInterface) *peer.Response { return shim.Success(nil) }

// Invoke answers 200 with a payload, or 500 with a message: a failure, after which nothing was decided. A refusal is a
// payload. No message ever holds what an opening holds, since messages end up in logs.
func (c *contract) Invoke(stub shim.ChaincodeStubInterface) *peer.Response {
	payload, err := c.invoke(stub)
	if err != nil {
		return shim.Error(err.Error())
	}
	return shim.Success(payload)
}

func (c *contract) invoke(stub shim.ChaincodeStubInterface) (payload []byte, err error) {
	defer c.survive(&err)
	args := stub.GetArgs()
	if len(args) == 0 {
		return nil, errors.New("there is no function")
	}
	switch f := string(args[0]); f {
	case proposal.Submit, proposal.Open:
		return c.decide(stub, args)
	case proposal.Gets:
		return gets(stub, args[1:])
	case proposal.Epoch:
		return nil, c.beginEpoch(stub, args[1:])
	}
	return nil, fmt.Errorf("the functions are %s, %s, %s and %s", proposal.Submit, proposal.Open, proposal.Gets, proposal.Epoch)
}

var errPanicked = errors.New("the chaincode panicked")

// survive turns a panic into a failure: otherwise a client that retries could keep the definition down. The log gets
// places in the code and no values, for those may be an opening's.
func (c *contract) survive(err *error) {
	p := recover()
	if p == nil {
		return
	}
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	var places []string
	for more := true; more; {
		var f runtime.Frame
		f, more = frames.Next()
		places = append(places, fmt.Sprintf("%s:%d", f.Function, f.Line))
	}
	c.log.Error("panicked", "type", fmt.Sprintf("%T", p), "at", places)
	*err = errPanicked
}
