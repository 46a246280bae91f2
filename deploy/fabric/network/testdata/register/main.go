// The network's own tests run this chaincode where they don't need the market's: it keeps values under keys and says
// which build it is.
package main

import (
	"fmt"
	"os"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	pb "github.com/hyperledger/fabric-protos-go-apiv2/peer"
)

var build = "1" // set by the linker

type register struct{}

func (register) Init(shim.ChaincodeStubInterface) *pb.Response { return shim.Success(nil) }

func (register) Invoke(s shim.ChaincodeStubInterface) *pb.Response {
	f, args := s.GetFunctionAndParameters()
	switch {
	case f == "build":
		return shim.Success([]byte(os.Getenv("BUND_DEFINITION") + " " + build))
	case f == "put" && len(args) == 2:
		if err := s.PutState(args[0], []byte(args[1])); err != nil {
			return shim.Error(err.Error())
		}
		return shim.Success(nil)
	case f == "get" && len(args) == 1:
		v, err := s.GetState(args[0])
		if err != nil {
			return shim.Error(err.Error())
		}
		return shim.Success(v)
	}
	return shim.Error("no such function")
}

func main() {
	srv := &shim.ChaincodeServer{CCID: os.Getenv("CHAINCODE_ID"), Address: os.Getenv("CHAINCODE_SERVER_ADDRESS"), CC: register{},
		TLSProps: shim.TLSProperties{Disabled: true}}
	if err := srv.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
