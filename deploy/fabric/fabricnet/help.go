package main

// helps teach a command each; "" all of them.
var helps = map[string]string{
	"": `fabricnet: the permissioned network on one machine, without containers

  fabricnet up               start it; make it first if there is none
  fabricnet status           what runs, where it listens
  fabricnet down             stop it; what is on the ledger stays
  fabricnet restart PROCESS  end a process and start it again
  fabricnet kill PROCESS     end a process as a crash would: SIGKILL

--dir is the network's folder (data/fabric), --bin the folder of the programs (bin), which make fabric-build fills.
fabricnet COMMAND --help tells more. Exit code: 0 done, 1 it failed, 2 wrong usage.

What runs: one or three orderers (Raft), a peer of venue, custodian, provider, buyer and regulator, and beside each of
the first four peers two chaincode processes, one for the definition market and one for clearing. The regulator's peer
has every block and endorses nothing. All of it listens on 127.0.0.1 only; peers and orderers speak TLS.

Never set a log level of payload, by a variable or at an operations address (/logspec): it writes private values down.
`,
	"up": `fabricnet up [--dir data/fabric] [--bin bin] [--port 17000] [--orderers 1|3] [--ledger bund.sample/1]

Starts the network in the folder. If there is none it is made: keys and certificates, the channel bund, both chaincode
definitions. It writes network.yaml there, which says to clients what they must know; it names private keys, so keep
it and the folder to yourself. An up that was interrupted is continued by the next.

  --port      first of some 700 ports; orderers at its tens, an organisation at each following hundred
  --orderers  three go on when one of them ends
  --ledger    id of the ledger that commands are signed for

All three hold for the network's life. A network keeps the chaincode program that it was made with.
`,
	"down": `fabricnet down [--dir data/fabric] [--wipe]

Ends all processes of the network. fabricnet up goes on with the same ledger.

  --wipe  also removes the folder: keys, ledger, everything
`,
	"status": `fabricnet status [--dir data/fabric]

Lists the processes with their first port and their pid. The exit code is 1 when one is down.
Logs are in logs/ of the folder.
`,
	"restart": `fabricnet restart PROCESS [--dir data/fabric]

Ends a process (SIGTERM), if it runs, and starts it: orderer.1, peer.venue, chaincode.venue.market and so on, as
fabricnet status lists them. It returns when the process listens; a peer needs a few seconds more until others know
that it is back.
`,
	"kill": `fabricnet kill PROCESS [--dir data/fabric]

Ends a process with SIGKILL. fabricnet restart, or up, starts it again.
`,
}
