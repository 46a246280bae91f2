package contracts

import (
	"errors"
	"slices"
)

// StatisticsTask is a joint statistic: contributors split their values between two aggregators, neither of which learns
// one, and the collector gets the sum with noise. Everybody in it has to have joined before anything is sent.
type StatisticsTask struct {
	Version      ID      `json:"version"` // the product that the collector sells the result as
	Collector    ID      `json:"collector"`
	Aggregators  []ID    `json:"aggregators"`  // two nodes of different, independent members; the first leads
	Contributors []ID    `json:"contributors"` // members, at least two
	Measure      Measure `json:"measure"`
	MinBatch     int64   `json:"minBatch"`     // reports below which nothing is collected
	EpsilonMicro int64   `json:"epsilonMicro"` // privacy loss of one collection, in millionths
	From         Millis  `json:"from"`
	To           Millis  `json:"to"`
	Joined       []ID    `json:"joined"` // members, ascending
	Ended        Millis  `json:"ended,omitempty"`
}

// Measure is what a report holds.
type Measure struct {
	Kind string `json:"kind"` // "count": 0 or 1; "sum": 0 to max; "histogram": a number of a bucket

	Max     int64   `json:"max,omitempty"`     // of a sum, inclusive
	Buckets []int64 `json:"buckets,omitempty"` // of a histogram: rising lower bounds of all buckets but the first
}

// Check reports a measure that can't be split.
func (m Measure) Check() error {
	switch m.Kind {
	case "count":
		if m.Max != 0 || m.Buckets != nil {
			return errors.New("a count has no max and no buckets")
		}
	case "sum":
		if m.Max < 1 || m.Max > 1<<32-1 || m.Buckets != nil {
			return errors.New("a sum has a max of 1 to 4294967295 and no buckets")
		}
	case "histogram":
		if m.Max != 0 || len(m.Buckets) < 1 || len(m.Buckets) > 1023 || !slices.IsSorted(m.Buckets) || len(slices.Compact(slices.Clone(m.Buckets))) != len(m.Buckets) {
			return errors.New("a histogram has 1 to 1023 rising bounds and no max")
		}
	default:
		return errors.New("kind is count, sum or histogram")
	}
	return nil
}

// KeyStatistics is where a task stands.
func KeyStatistics(id ID) string { return "statistics/" + string(id) }

// StatisticsPropose opens a task. The proposer collects, and joins by it.
type StatisticsPropose struct {
	Version      ID      `json:"version"`
	Aggregators  []ID    `json:"aggregators"`
	Contributors []ID    `json:"contributors"`
	Measure      Measure `json:"measure"`
	MinBatch     int64   `json:"minBatch"`
	EpsilonMicro int64   `json:"epsilonMicro"`
	From         Millis  `json:"from"`
	To           Millis  `json:"to"`
}

// Check reports a task that protects nobody.
func (b StatisticsPropose) Check() error {
	switch {
	case len(b.Aggregators) != 2 || b.Aggregators[0] == b.Aggregators[1]:
		return errors.New("aggregators are two nodes")
	case len(b.Contributors) < 2 || len(b.Contributors) > 100 || !unique(b.Contributors):
		return errors.New("contributors are 2 to 100 different members")
	case b.MinBatch < 2:
		return errors.New("minBatch is at least 2")
	case b.EpsilonMicro < 1 || b.EpsilonMicro > 20_000_000:
		return errors.New("epsilonMicro is 1 to 20000000")
	case b.From == 0 || b.To <= b.From:
		return errors.New("want from < to")
	}
	return nil
}

// StatisticsTurn is a member's yes to a task, or its end.
type StatisticsTurn struct {
	Task ID `json:"task"`
}

var statisticsKinds = []*spec{
	kind("statistics.propose", applyStatisticsPropose, twoPeople(RoleProvider), personal),
	kind("statistics.join", applyStatisticsJoin, by("", DutyMaker, DutyChecker), personal),
	kind("statistics.end", applyStatisticsEnd, by("", DutyMaker)),
}

func applyStatisticsPropose(t *tx, b *StatisticsPropose) *Refusal {
	v, _, r := t.ownVersion(b.Version)
	if r != nil {
		return r
	}
	if r := v.want(Listed); r != nil {
		return r
	}
	if !slices.Contains(v.Facts.Modes, "joint_statistics") {
		return refuse("statistics.mode", "the product is not delivered as a joint statistic").at("version")
	}
	if b.MinBatch < v.Facts.Policy.MinimumCohort {
		return refuse("statistics.cohort", "a batch has at least the policy's minimum of %d reports", v.Facts.Policy.MinimumCohort).at("minBatch")
	}
	if b.To <= t.env.Now {
		return refuse("statistics.term", "the task has ended before it began").at("to")
	}
	me, r := t.member(t.me())
	if r != nil {
		return r
	}
	operators := []*Member{me}
	ids := []ID{t.me()}
	for _, id := range b.Aggregators {
		t.ahead(KeyNode(id))
	}
	for _, c := range b.Contributors {
		t.ahead(KeyMember(c))
	}
	for i, id := range b.Aggregators {
		field := "aggregators." + itoa(i)
		n, ok := get[Node](t, KeyNode(id))
		if !ok || n.Retired != 0 || n.URL == "" {
			return refuse("node.unknown", "there is no such node in service").at(field)
		}
		m, r := t.activeMember(n.Member)
		if r != nil {
			return r.at(field)
		}
		// Two that share an operator, or an aggregator that also collects, could add up the shares of one report.
		for j, o := range operators {
			if ids[j] == n.Member || m.affiliateOf(o) {
				return refuse("statistics.independent", "the aggregators and the collector are independent of each other").at(field)
			}
		}
		operators, ids = append(operators, m), append(ids, n.Member)
	}
	for i, c := range b.Contributors {
		if _, r := t.activeMember(c); r != nil {
			return r.at("contributors." + itoa(i))
		}
		if slices.Contains(ids, c) {
			return refuse("statistics.independent", "a contributor neither aggregates nor collects").at("contributors." + itoa(i))
		}
	}
	id := t.newID("statistics")
	s := StatisticsTask{Version: b.Version, Collector: t.me(), Aggregators: b.Aggregators, Contributors: b.Contributors, Measure: b.Measure,
		MinBatch: b.MinBatch, EpsilonMicro: b.EpsilonMicro, From: b.From, To: b.To, Joined: []ID{t.me()}}
	t.put(KeyStatistics(id), s)
	if r := t.inTask(&s); r != nil {
		return r
	}
	t.event("statistics.proposed", id)
	return nil
}

// taskMembers gives everybody in a task: collector, operators of the aggregators, contributors.
func (t *tx) taskMembers(s *StatisticsTask) ([]ID, *Refusal) {
	all := []ID{s.Collector}
	for _, id := range s.Aggregators {
		n, ok := get[Node](t, KeyNode(id))
		if !ok {
			return nil, refuse("node.unknown", "there is no such node").at("task")
		}
		all = append(all, n.Member)
	}
	return append(all, s.Contributors...), nil
}

func (t *tx) inTask(s *StatisticsTask) *Refusal {
	all, r := t.taskMembers(s)
	if r == nil {
		t.audience(all...)
	}
	return r
}

// task gives a task that this member is in.
func (t *tx) task(id ID) (*StatisticsTask, []ID, *Refusal) {
	s, ok := get[StatisticsTask](t, KeyStatistics(id))
	if !ok {
		return nil, nil, refuse("statistics.unknown", "this member is in no such task").at("task")
	}
	all, r := t.taskMembers(s)
	if r != nil {
		return nil, nil, r
	}
	if !slices.Contains(all, t.me()) {
		return nil, nil, refuse("statistics.unknown", "this member is in no such task").at("task")
	}
	if s.Ended != 0 || t.env.Now >= s.To {
		return nil, nil, refuse("statistics.ended", "the task has ended").at("task")
	}
	return s, all, nil
}

func applyStatisticsJoin(t *tx, b *StatisticsTurn) *Refusal {
	s, all, r := t.task(b.Task)
	if r != nil {
		return r
	}
	if slices.Contains(s.Joined, t.me()) {
		return refuse("statistics.joined", "this member has joined").at("task")
	}
	s.Joined = append(s.Joined, t.me())
	slices.Sort(s.Joined)
	t.put(KeyStatistics(b.Task), s)
	t.audience(all...)
	t.event("statistics.joined", b.Task)
	return nil
}

// applyStatisticsEnd ends a task: any member of it may leave, and the task needs all.
func applyStatisticsEnd(t *tx, b *StatisticsTurn) *Refusal {
	s, all, r := t.task(b.Task)
	if r != nil {
		return r
	}
	s.Ended = t.env.Now
	t.put(KeyStatistics(b.Task), s)
	t.audience(all...)
	t.event("statistics.ended", b.Task)
	return nil
}

// Part is one wish of a node to take part in a joint statistic, as another node of the task sees it.
type Part struct {
	Task ID
	Peer ID     // the member behind the calling node
	Node ID     // the calling node: an aggregator's is one that the task names
	As   string // "contributor", "aggregator", "collector": what the caller claims to be
}

// MayTakePart is the aggregators' and the collector's question: may this peer take part in the task now? It is the
// gate of a joint statistic, as MayUse is of a grant.
func MayTakePart(st State, now Millis, u Part) (*StatisticsTask, error) {
	t := question(st, now)
	s, r := t.mayTakePart(u)
	return answered(t, s, r)
}

func (t *tx) mayTakePart(u Part) (*StatisticsTask, *Refusal) {
	s, ok := get[StatisticsTask](t, KeyStatistics(u.Task))
	if !ok {
		return nil, refuse("statistics.unknown", "this peer is in no such task")
	}
	all, r := t.taskMembers(s)
	if r != nil {
		return nil, r
	}
	in := false
	switch u.As {
	case "contributor":
		in = slices.Contains(s.Contributors, u.Peer)
	case "aggregator":
		i := slices.Index(s.Aggregators, u.Node)
		in = i >= 0 && all[1+i] == u.Peer
	case "collector":
		in = s.Collector == u.Peer
	}
	if !in {
		return nil, refuse("statistics.unknown", "this peer is in no such task")
	}
	if s.Ended != 0 || t.env.Now >= s.To || t.env.Now < s.From {
		return nil, refuse("statistics.ended", "the task does not run now")
	}
	for _, m := range all {
		if !slices.Contains(s.Joined, m) {
			return nil, refuse("statistics.not_joined", "not everybody in the task has joined")
		}
		if _, r := t.activeMember(m); r != nil {
			return nil, r
		}
	}
	if r := t.notFrozen(append(all, s.Version)...); r != nil {
		return nil, r
	}
	return s, nil
}
