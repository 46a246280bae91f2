package main

// helps teach a command each; "" all of them.
var helps = map[string]string{
	"": `fabricnet: the permissioned network on one machine, without containers

  fabricnet up               start it; make it first if there is none
  fabricnet status           what runs, where it listens
  fabricnet blocks DIR       export a peer's blocks, for bundaudit
  fabricnet down             stop it; what is on the ledger stays
  fabricnet restart PROCESS  end a process and start it again
  fabricnet kill PROCESS     end a process as a crash would: SIGKILL

  fabricnet add-peer --org provider  one more peer of an organisation
  fabricnet upgrade                  both chaincode definitions to the program in bin/chaincode
  fabricnet rotate --org provider    new keys and certificates for an organisation's peers and people
  fabricnet rebuild-peer PROCESS     a peer that lost its disk reads the channel anew
  fabricnet snapshot PROCESS         a peer writes its state down, for another one to begin with
  fabricnet backup --out FOLDER      copy a stopped network
  fabricnet restore --from FOLDER    put such a copy in place

--dir is the network's folder (data/fabric), --bin the folder of the programs (bin), which make fabric-build fills.
fabricnet COMMAND --help tells more. Exit code: 0 done, 1 it failed (of status: something is down), 2 wrong usage.

What runs: one or three orderers (Raft), a peer of venue, custodian, provider, buyer and regulator, and beside each of
the first four peers two chaincode processes, one for the definition market and one for clearing. The regulator's peer
has every block and endorses nothing. All of it listens on 127.0.0.1 only and speaks TLS. Chaincode serves its own
organisation's peers. Operations addresses answer only who shows a TLS certificate of the same organisation, its
administrator's say.

Never set a log level of payload, by a variable or at an operations address (/logspec): it writes private values down.
`,
	"up": `fabricnet up [--dir data/fabric] [--bin bin] [--port 17000] [--orderers 1|3] [--ledger bund.sample/1]

Starts the network in the folder. If there is none it is made: keys and certificates, the channel bund, both chaincode
definitions. It writes network.yaml there, which says to clients what they must know; it names private keys, so keep
it and the folder to yourself. An up that was interrupted is continued by the next, and so is every change below:
add-peer, upgrade, rotate, rebuild-peer. A process that an earlier version started with another configuration is restarted.

  --port      first of some 700 ports; orderers at its tens, an organisation at each following hundred
  --orderers  one if nothing is said; three go on when one of them ends
  --ledger    id of the ledger that commands are signed for

These three hold for the network's life. An orderer whose blocks are lost is refused: see docs/operating/fabric.md. A network keeps the chaincode program that it was made with.
`,
	"down": `fabricnet down [--dir data/fabric] [--wipe]

Ends all processes of the network. fabricnet up goes on with the same ledger.

  --wipe  also removes the folder: keys, ledger, everything
`,
	"status": `fabricnet status [--dir data/fabric]

Lists the processes with their first port and their pid. The exit code is 1 when one is down.
Logs are in logs/ of the folder, chaincode's with the sequence of its definition: chaincode.venue.market-1.log.
`,
	"blocks": `fabricnet blocks DIR [--of regulator] [--dir data/fabric]

Writes the blocks that an organisation's peer has into a folder, one file each. Run again it adds the new ones.
bundaudit blocks --dir DIR verifies them without this network.

  --of  venue, custodian, provider, buyer or regulator
`,
	"restart": `fabricnet restart PROCESS [--dir data/fabric]

Ends a process (SIGTERM), if it runs, and starts it: orderer.1, peer.venue, chaincode.venue.market and so on, as
fabricnet status lists them. It returns when the process listens; a peer needs a few seconds more until others know
that it is back.
`,
	"add-peer": `fabricnet add-peer --org NAME [--snapshot FOLDER] [--dir data/fabric] [--bin bin]

Adds a peer to venue, custodian, provider, buyer or regulator, on a running network: keys and certificates from the
organisation's CA, chaincode processes of its own unless it is the regulator's, an entry in network.yaml. It returns when
the peer has every block. The organisation needs no new approval: packages are the same bytes for everybody. Interrupted, it is
continued by the same command or by up.

  --snapshot  begin with what fabricnet snapshot made instead of the channel's first block: quicker on a long chain, but
              then the peer has no earlier block, and no market may read the ledger there
`,
	"upgrade": `fabricnet upgrade [--chaincode bin/chaincode] [--dir data/fabric] [--bin bin]

Brings both definitions to their next sequence with a program, on a running network. A definition's version is the
program's digest. New processes start beside the old ones, every endorsing organisation approves, both definitions are committed,
and old processes end when every peer serves the new ones. Commands that are under way meanwhile may be invalid
(MVCC_READ_CONFLICT) or endorsed differently; the market sends them again by itself.

The program that is in place already changes nothing. Going back is an upgrade to the former program. Interrupted, it is
continued by the same command or by up.
`,
	"rotate": `fabricnet rotate --org NAME [--dir data/fabric] [--bin bin]

Gives an organisation's peers (TLS and signing), their chaincode, its client and its administrator new keys and
certificates under the same CAs. Peers restart one after the other with their chaincode, the next when the one before
has caught up. Files keep their places and network.yaml its text; clients of the organisation (the market, for the venue) must be restarted to read them. Old ones are moved to
retired/NAME.DATE. Interrupted, it is continued by the same command or by up, not begun anew.

Old certificates stay valid until they expire. Revoking one takes a CRL, signed by the organisation's CA, in that
organisation's MSP (revocation_list) in the channel's configuration: an update signed by its administrator, as for any change of its
own MSP:
  peer channel fetch config, decode, add the CRL (base64 of PEM) to
  channel_group.groups.Application.groups.MSP.values.MSP.value.config.revocation_list,
  configtxlator compute_update, peer channel signconfigtx, peer channel update
Peers then refuse what a revoked identity signs. Copy the CRL to msp/crls of the organisation's own peers too.
TLS certificates aren't in a CRL that Fabric asks: their keys must be destroyed. Orderers are not rotated here: the channel's
configuration holds their TLS certificates, one at a time is replaced there first.
`,
	"rebuild-peer": `fabricnet rebuild-peer PROCESS [--discard] [--dir data/fabric] [--bin bin]

A peer whose data is lost joins the channel anew, on a running network: peer.custodian and so on. It reads and checks every
block from the first on, has both packages installed, and returns when it has all blocks. Keys, certificates and
configuration are not its data. Interrupted, it is continued by the same command or by up.

  --discard  remove data that is there, damaged for instance
`,
	"snapshot": `fabricnet snapshot PROCESS [--dir data/fabric] [--bin bin]

Has a running peer write the state of the channel down at its present block, and prints the folder, for add-peer --snapshot. The
peer serves on meanwhile. It holds no blocks: it is not a backup of the ledger.
`,
	"backup": `fabricnet backup --out FOLDER [--dir data/fabric]

Copies a stopped network, cold, to a folder that is not there yet: keys, also those of the CAs, so keep it as you keep those;
the orderers' log and blocks; every peer's ledger; programs. Logs are left out. SHA256SUMS in it is written last: without it the copy isn't whole.
`,
	"restore": `fabricnet restore --from FOLDER [--dir data/fabric]

Puts a backup into a folder that is not there yet, on the ports that it had, after holding every file against SHA256SUMS.
A restore that fails leaves nothing. Restore all of a network or nothing. Orderers that are older than a peer or a market that is still there would give the same numbers to
other blocks: what was ordered after the backup is lost, and whoever has seen it must be restored or rebuilt too.
`,
	"kill": `fabricnet kill PROCESS [--dir data/fabric]

Ends a process, named as fabricnet status lists it, with SIGKILL. fabricnet restart, or up, starts it again.
`,
}
