// Package blocks reads the blocks of a Fabric channel as the ledger's entries. Every organisation derives the same entries
// from the same blocks: those of the valid transactions in block order, and of a transaction's accepted commands in order.
// What a command wrote comes from the transaction's write set; which keys of it are the command's, from the Reply that the
// endorsers signed.
package blocks

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang/protobuf/proto"
	"github.com/hyperledger/fabric-protos-go/common"
	"github.com/hyperledger/fabric-protos-go/peer"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/proposal"
	"github.com/bund-exchange/bund/ledger"
)

// Names are the names of the two chaincode definitions on the channel; each is a namespace of keys.
type Names struct {
	Market   string
	Clearing string
}

// Derived is what a block holds for the market.
type Derived struct {
	Number       uint64
	Transactions []Transaction // all, in order, valid or not
	Commands     []Command     // accepted, in order
	Epochs       []Epoch       // begun
}

// Transaction is one transaction of a block.
type Transaction struct {
	ID        string // as its sender named it; "" where an invalid one can't be read
	Flag      peer.TxValidationCode
	Timestamp time.Time // the sender's; zero where an invalid one can't be read
}

// Command is an accepted command.
type Command struct {
	Namespace  string
	TxID       string
	Tx         int // of the block, from 0
	Index      int // among the transaction's commands, from 0; refused and repeated ones count
	Submission contracts.Submission
	Result     *contracts.Result
	Time       contracts.Millis // of its entry
}

// Epoch is the beginning of an epoch.
type Epoch struct {
	N    uint64
	Time contracts.Millis
	TxID string
	Tx   int
}

// Derive reads a block as a peer stores it, validation flags included; it believes the flags. An error means that the
// block is damaged, or that chaincode did what the rule book's never does: nothing may be derived from it or from what follows.
func Derive(block *common.Block, names Names) (*Derived, error) {
	d, err := derive(block, names)
	if err != nil {
		return nil, fmt.Errorf("couldn't derive entries of block %d: %w", block.GetHeader().GetNumber(), err)
	}
	return d, nil
}

func derive(block *common.Block, names Names) (*Derived, error) {
	if block.GetHeader() == nil {
		return nil, errors.New("it has no header")
	}
	data := block.GetData().GetData()
	flags, err := Flags(block)
	if err != nil {
		return nil, err
	}
	d := &Derived{Number: block.Header.Number}
	for i, envelope := range data {
		tx, err := parseTransaction(envelope)
		d.Transactions = append(d.Transactions, Transaction{ID: tx.id, Flag: flags[i], Timestamp: tx.timestamp})
		if flags[i] != peer.TxValidationCode_VALID {
			continue
		}
		if err == nil && tx.kind == common.HeaderType_ENDORSER_TRANSACTION {
			err = d.take(tx, i, names)
		}
		if err != nil {
			return nil, fmt.Errorf("transaction %d (%s): %w", i, tx.id, err)
		}
	}
	return d, nil
}

// Flags gives the validation flags that a peer recorded, one for each transaction.
func Flags(block *common.Block) ([]peer.TxValidationCode, error) {
	metadata, n := block.GetMetadata().GetMetadata(), len(block.GetData().GetData())
	if len(metadata) <= int(common.BlockMetadataIndex_TRANSACTIONS_FILTER) {
		return nil, errors.New("it has no validation flags: want a block as a peer stores it")
	}
	b := metadata[common.BlockMetadataIndex_TRANSACTIONS_FILTER]
	if len(b) != n {
		return nil, fmt.Errorf("%d validation flags for %d transactions: want a block as a peer stores it", len(b), n)
	}
	flags := make([]peer.TxValidationCode, n)
	for i, f := range b {
		flags[i] = peer.TxValidationCode(f)
	}
	return flags, nil
}

// take adds what a valid transaction did.
func (d *Derived) take(tx *transaction, i int, names Names) error {
	for ns := range tx.writes {
		if (ns == names.Market || ns == names.Clearing) && ns != tx.chaincode {
			return fmt.Errorf("an invocation of %s wrote to %s", tx.chaincode, ns)
		}
	}
	if tx.chaincode != names.Market && tx.chaincode != names.Clearing {
		return nil
	}
	if tx.unread != nil {
		return tx.unread
	}
	for ns := range tx.writes {
		if ns != tx.chaincode {
			return fmt.Errorf("an invocation of %s wrote to %s", tx.chaincode, ns)
		}
	}
	writes := tx.writes[tx.chaincode]
	if writes.odd != nil {
		return writes.odd
	}
	if writes.beside {
		return fmt.Errorf("%s wrote private data or metadata of keys", tx.chaincode)
	}
	if len(writes.values) == 0 && tx.function() != proposal.Submit {
		return nil
	}
	for k, v := range writes.values {
		if v == nil {
			continue
		}
		if len(v) == 0 {
			return fmt.Errorf("%s wrote nothing under the key %s", tx.chaincode, k)
		}
		var err error
		if writes.values[k], err = proposal.ParseStored(v); err != nil {
			return fmt.Errorf("the key %s: %w", k, err)
		}
	}
	if tx.status != 200 {
		return fmt.Errorf("the chaincode answered with status %d", tx.status)
	}
	switch {
	case tx.function() == proposal.Submit:
		return d.submit(tx, i, names)
	case tx.function() == proposal.Epoch && tx.chaincode == names.Market:
		return d.epoch(tx, i)
	}
	return fmt.Errorf("the function %q of %s wrote %d keys", clip(tx.function()), tx.chaincode, len(writes.values))
}

func (d *Derived) submit(tx *transaction, i int, names Names) error {
	call, err := proposal.ParseCall(tx.args)
	if err != nil {
		return err
	}
	reply, err := proposal.ParseReply(tx.payload, len(call.Commands))
	if err != nil {
		return err
	}
	writes := tx.writes[tx.chaincode].values
	claimed := map[string]bool{}
	for j, a := range reply.Answers {
		if a.Accepted == nil {
			continue
		}
		if len(a.Accepted.Openings) > 0 {
			return fmt.Errorf("command %d: its openings stand in the block", j)
		}
		res, err := a.Accepted.Result(func(k string) ([]byte, bool) {
			v, ok := writes[k]
			return v, ok
		})
		if err != nil {
			return fmt.Errorf("command %d: %w", j, err)
		}
		if !ascending(res.Audience) {
			return fmt.Errorf("command %d: its audience is not in order", j)
		}
		if err := placed(call.Commands[j].Raw, res.Writes, tx.chaincode == names.Clearing); err != nil {
			return fmt.Errorf("command %d: %w", j, err)
		}
		for _, w := range res.Writes {
			if claimed[w.Key] {
				return fmt.Errorf("two commands claim the key %s", w.Key)
			}
			claimed[w.Key] = true
		}
		d.Commands = append(d.Commands, Command{Namespace: tx.chaincode, TxID: tx.id, Tx: i, Index: j,
			Submission: call.Commands[j], Result: res, Time: a.Accepted.Time})
	}
	for k := range writes {
		if !claimed[k] {
			return fmt.Errorf("no accepted command claims the key %s", k)
		}
	}
	return nil
}

func ascending(ids []contracts.ID) bool {
	for i := 1; i < len(ids); i++ {
		if ids[i] <= ids[i-1] {
			return false
		}
	}
	return true
}

// placed checks that a definition wrote only keys that are its own. Otherwise those who endorse the one could write, under
// a key that only those who endorse the other may write, what readers of entries take for the other's word.
func placed(raw []byte, writes []contracts.Write, clearing bool) error {
	var e contracts.Envelope
	if err := canon.Unmarshal(raw, &e); err != nil {
		return fmt.Errorf("the command is malformed: %w", err)
	}
	if is, known := contracts.ClearingKind(e.Kind); !known || is != clearing {
		return fmt.Errorf("the kind %q isn't this definition's", clip(e.Kind))
	}
	recorded := false
	for _, w := range writes {
		switch {
		case w.Key == contracts.KeyCommand(e.ID):
			recorded = true
		case strings.HasPrefix(w.Key, "cmd/"), strings.HasPrefix(w.Key, "epoch/"), strings.HasPrefix(w.Key, "clr/") != clearing:
			return fmt.Errorf("the key %s isn't this command's to write", w.Key)
		}
	}
	if !recorded {
		return errors.New("its outcome isn't recorded")
	}
	return nil
}

func (d *Derived) epoch(tx *transaction, i int) error {
	if len(tx.args) != 2 {
		return errors.New("the call of an epoch is malformed")
	}
	n, err := proposal.ParseEpoch(tx.args[1])
	if err != nil {
		return err
	}
	key := proposal.KeyEpoch(n)
	for k := range tx.writes[tx.chaincode].values {
		if k != key {
			return fmt.Errorf("the beginning of epoch %d wrote %s", n, k)
		}
	}
	var r proposal.EpochRecord
	if err := canon.Unmarshal(tx.writes[tx.chaincode].values[key], &r); err != nil {
		return fmt.Errorf("the record of epoch %d is malformed: %w", n, err)
	}
	d.Epochs = append(d.Epochs, Epoch{N: n, Time: r.Time, TxID: tx.id, Tx: i})
	return nil
}

// Entries makes the entries of commands that follow the entry with the hash prev. position is that of the first.
func Entries(prev [32]byte, position uint64, cmds []Command) []*ledger.Stored {
	var out []*ledger.Stored
	for _, c := range cmds {
		s := &ledger.Stored{Entry: ledger.NewEntry(position, prev, c.Time, c.Submission, c.Result)}
		s.Encoded = s.Encode()
		s.Hash = ledger.Hash(s.Encoded)
		out = append(out, s)
		prev, position = s.Hash, position+1
	}
	return out
}

// clip keeps a stranger's text in a message short.
func clip(s string) string {
	if len(s) > 32 {
		return s[:32]
	}
	return s
}

// Parse reads the bytes of a block.
func Parse(b []byte) (*common.Block, error) {
	block := &common.Block{}
	if err := proto.Unmarshal(b, block); err != nil {
		return nil, fmt.Errorf("couldn't read a block: %w", err)
	}
	if block.GetHeader() == nil {
		return nil, errors.New("couldn't read a block: it has no header")
	}
	return block, nil
}
