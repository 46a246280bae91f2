package cast

import (
	"strings"
	"testing"
)

// A setting up that was interrupted is not gone on with: keys and clock of the cast are in the memory of who began.
func TestLoadAfterAnInterruption(t *testing.T) {
	o := Options{Dir: t.TempDir(), ID: "bund.test/1"}
	if _, there, err := Load(o); there || err != nil {
		t.Fatalf("an empty folder: %v, %v", there, err)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, there, err := Load(o); there || err == nil || !strings.Contains(err.Error(), "remove the folder and begin again") {
		t.Errorf("got %v, %v, want advice to begin again", there, err)
	}
	onFabric := o
	onFabric.Fabric = "/data/fabric/network.yaml"
	if _, _, err := Load(onFabric); err == nil || !strings.Contains(err.Error(), "the network's, /data/fabric, and begin again") {
		t.Errorf("got %v, want advice to begin the network again, too", err)
	}
	if err := s.Keep("venue.client", "id:secret\n"); err != nil {
		t.Fatal(err)
	}
	if err := s.Complete(); err != nil {
		t.Fatal(err)
	}
	again, there, err := Load(o)
	if !there || err != nil {
		t.Fatalf("a complete folder: %v, %v", there, err)
	}
	if again.Market != s.Market || again.Venue.ID != "id" {
		t.Errorf("read %s and client %q, want %s and id", again.Market, again.Venue.ID, s.Market)
	}
}
