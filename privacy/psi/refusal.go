package psi

import (
	"fmt"

	"github.com/bund-exchange/bund/contracts"
)

// Refusals. Each ends the session for good: what the peer sent is not what the protocol allows at that place, or one's
// own set is not one. Other errors are failures of link, spool or store, and the session can be run again.
const (
	BadFrame     contracts.Code = "psi.frame"         // bytes that are no frame of the kind that is due
	BadOrder     contracts.Code = "psi.order"         // a frame that is not due: replayed, left out, or out of place
	BadParams    contracts.Code = "psi.params"        // the Hello is of another session, version, suite, role or form
	BadSize      contracts.Code = "psi.size"          // a size above its maximum, or not rounded as agreed
	BadCount     contracts.Code = "psi.count"         // more or fewer elements than the Hello announced
	BadPoint     contracts.Code = "psi.point"         // not canonical, or of small order
	Duplicate    contracts.Code = "psi.duplicate"     // points that don't ascend: one comes twice
	BadPromise   contracts.Code = "psi.commitment"    // points or tags are not those of the commitment
	OwnDuplicate contracts.Code = "psi.own_duplicate" // one's own set has an id twice
)

func refuse(code contracts.Code, format string, args ...any) error {
	return &contracts.Refusal{Code: code, Detail: fmt.Sprintf(format, args...)}
}
