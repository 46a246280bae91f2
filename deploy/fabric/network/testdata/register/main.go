// The network's own tests run this chaincode where they don't need the market's: it keeps values under keys and says
// which build it is.
package main

import (
	"errors"
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
	case f == "puts" && len(args) > 0 && len(args)%2 == 0:
		if err := puts(s, args); err != nil {
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

// puts keeps many values, each under a key that nothing stands under yet and under a second one beside it.
func puts(s shim.ChaincodeStubInterface, args []string) error {
	var keys []string
	for i := 0; i < len(args); i += 2 {
		keys = append(keys, args[i])
	}
	old, err := s.GetMultipleStates(keys...)
	if err != nil {
		return err
	}
	s.StartWriteBatch()
	for i, k := range keys {
		if len(old[i]) > 0 {
			return errors.New("something stands there")
		}
		v := []byte(args[2*i+1])
		if err := errors.Join(s.PutState(k, v), s.PutState(k+"/2", v)); err != nil {
			return err
		}
	}
	return s.FinishWriteBatch()
}

func main() {
	srv := &shim.ChaincodeServer{CCID: os.Getenv("CHAINCODE_ID"), Address: os.Getenv("CHAINCODE_SERVER_ADDRESS"), CC: register{}}
	cert, err1 := os.ReadFile(os.Getenv("CHAINCODE_TLS_CERT"))
	key, err2 := os.ReadFile(os.Getenv("CHAINCODE_TLS_KEY"))
	ca, err3 := os.ReadFile(os.Getenv("CHAINCODE_TLS_CLIENT_CA"))
	srv.TLSProps = shim.TLSProperties{Cert: cert, Key: key, ClientCACerts: ca}
	if err := errors.Join(err1, err2, err3, srv.Start()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
