package main

import (
	"errors"
	"fmt"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"google.golang.org/protobuf/proto"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/proposal"
)

// beginEpoch writes the record of the next epoch: what names the one before the last can't become valid any more.
func (c *contract) beginEpoch(stub shim.ChaincodeStubInterface, args [][]byte) error {
	if c.definition != market {
		return errors.New("epochs belong to the market definition")
	}
	if len(args) != 1 {
		return errors.New("want the number of an epoch")
	}
	n, err := proposal.ParseEpoch(args[0])
	if err != nil {
		return err
	}
	creator, err := creatorMSP(stub)
	if err != nil {
		return err
	}
	if creator != c.venueMSP {
		return fmt.Errorf("only %s begins epochs", c.venueMSP)
	}
	began, err := txTime(stub)
	if err != nil {
		return err
	}
	if c.apart(began) {
		return errors.New("the clocks of venue and endorser are too far apart")
	}
	values, err := stub.GetMultipleStates(proposal.KeyEpoch(n), proposal.KeyEpoch(n-1))
	if err != nil {
		return fmt.Errorf("couldn't read: %w", err)
	}
	switch {
	case len(values) != 2:
		return fmt.Errorf("the peer gave %d values for 2 keys", len(values))
	case len(values[0]) > 0:
		return fmt.Errorf("epoch %d has begun", n)
	case n > 1 && len(values[1]) == 0:
		return fmt.Errorf("epoch %d has not begun", n-1)
	}
	if err := stub.PutState(proposal.KeyEpoch(n), proposal.Stored(canon.Marshal(proposal.EpochRecord{Time: began}))); err != nil {
		return fmt.Errorf("couldn't write: %w", err)
	}
	return nil
}

// creatorMSP gives the MSP of whoever signed the proposal; the peer has verified that.
func creatorMSP(stub shim.ChaincodeStubInterface) (string, error) {
	b, err := stub.GetCreator()
	if err != nil {
		return "", fmt.Errorf("couldn't tell who proposes: %w", err)
	}
	id := &msp.SerializedIdentity{}
	if err := proto.Unmarshal(b, id); err != nil {
		return "", fmt.Errorf("couldn't tell who proposes: %w", err)
	}
	return id.GetMspid(), nil
}

// txTime is the proposer's clock: on a ledger that runs on wall time the time of what the transaction decides.
func txTime(stub shim.ChaincodeStubInterface) (contracts.Millis, error) {
	ts, err := stub.GetTxTimestamp()
	if err != nil {
		return 0, fmt.Errorf("couldn't tell the transaction's time: %w", err)
	}
	t := contracts.Millis(ts.AsTime().UnixMilli())
	if t == 0 || t.Check() != nil {
		return 0, errors.New("the transaction's time is malformed")
	}
	return t, nil
}
