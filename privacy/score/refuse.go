package score

import (
	"fmt"

	"github.com/bund-exchange/bund/contracts"
)

// Codes of this package's refusals. A detail names features and positions, never a value or a weight.
const (
	CodeModel  contracts.Code = "score.model"  // not a model in its one form, or not the registered one
	CodeSuite  contracts.Code = "score.suite"  // other parameters
	CodeSpec   contracts.Code = "score.spec"   // a specification of features that can't be
	CodeArity  contracts.Code = "score.arity"  // rows, weights or a batch of another width
	CodeValue  contracts.Code = "score.value"  // a value or weight out of its range
	CodeRepeat contracts.Code = "score.repeat" // a company twice in a batch
	CodeCap    contracts.Code = "score.cap"    // a company was evaluated as often as agreed
	CodeAnswer contracts.Code = "score.answer" // not an answer in its one form, or to another model
)

func refuse(code contracts.Code, format string, args ...any) error {
	return &contracts.Refusal{Code: code, Detail: fmt.Sprintf(format, args...)}
}
