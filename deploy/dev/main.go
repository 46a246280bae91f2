// Command dev runs the whole market on this machine with the sample market in it: what `make run` does.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/bund-exchange/bund/deploy/cast"
	"github.com/bund-exchange/bund/deploy/sample"
)

func main() {
	dir := flag.String("dir", "data/sample", "folder of the market's data")
	bin := flag.String("bin", "bin", "folder of the programs")
	listen := flag.String("listen", "127.0.0.1:8080", "address of the API")
	onFabric := flag.String("fabric", "", "network.yaml of a running Hyperledger Fabric network that the market runs on; empty: the embedded ledger")
	once := flag.Bool("once", false, "stop as soon as everything is up")
	walk := flag.Bool("walk", false, "use every product that is used without being handed over, on a fresh market in a temporary folder and on free ports, and stop")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var err error
	target := "make run"
	if *walk {
		target, err = "make private", walkAll(ctx, *bin)
	} else {
		if *onFabric != "" {
			target = "make fabric"
		}
		err = run(ctx, cast.Options{Dir: *dir, Bin: *bin, Listen: *listen, Fabric: *onFabric}, *once)
	}
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", target, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o cast.Options, once bool) (err error) {
	began := time.Now()
	o.ID, o.Out = "bund.sample/1", os.Stdout
	for _, p := range []*string{&o.Dir, &o.Bin, &o.Fabric} {
		if *p == "" {
			continue
		}
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
	}
	s, there, err := cast.Load(o)
	if err != nil {
		return err
	}
	if there {
		o.Listen = s.Market
	}
	if err := unused(o.Listen); err != nil {
		return err
	}
	var shown *sample.Shown
	if there {
		defer func() { err = errors.Join(err, s.Stop()) }()
		if err := errors.Join(s.StartMarket(ctx), s.StartNodes(ctx)); err != nil {
			return err
		}
		if shown, err = sample.Read(o.Dir); err != nil {
			return err
		}
	} else {
		if s, err = cast.New(o); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.Stop()) }()
		if err := s.Begin(ctx); err != nil {
			return err
		}
		if shown, err = sample.Load(ctx, s); err != nil {
			return err
		}
		if err := s.Complete(); err != nil {
			return err
		}
	}
	fmt.Printf("\n%.1f s\n", time.Since(began).Seconds())
	show(s, shown)
	if once {
		return nil
	}
	if p := s.Ended(ctx); p != nil {
		return fmt.Errorf("%s ended by itself:\n%s", p.Name, p.Tail())
	}
	fmt.Println("\n正在停止 · stopping")
	return nil
}

// unused is asked before anything starts: whoever listens there would be taken for the market that is being started.
func unused(address string) error {
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s is in use: another make run or make fabric, or another program; end that first", address)
	}
	if err != nil {
		return err
	}
	return l.Close()
}

// walkAll walks through a market of its own, which is gone afterwards; its logs are kept when something failed.
func walkAll(ctx context.Context, bin string) (err error) {
	dir, err := os.MkdirTemp("", "bund-private")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w; logs are in %s", err, filepath.Join(dir, "logs"))
			return
		}
		os.RemoveAll(dir)
	}()
	if bin, err = filepath.Abs(bin); err != nil {
		return err
	}
	s, err := cast.New(cast.Options{Dir: dir, Bin: bin, ID: "bund.private/1", Out: os.Stdout})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	if err := s.Begin(ctx); err != nil {
		return err
	}
	shown, err := sample.Load(ctx, s)
	if err != nil {
		return err
	}
	return sample.Walk(ctx, s, shown)
}

func show(s *cast.Stack, x *sample.Shown) {
	again, network := "make run", ""
	if s.Fabric != "" {
		again, network = "make fabric", "网络继续运行，由 make fabric-stop 停止 · The network runs on; make fabric-stop stops it.\n"
	}
	fmt.Printf(`
外滩样例市场已就绪 · The sample market is up. Ctrl-C 停止 · stops it; the next %[5]s goes on with the same data.
%[6]s
  市场接口 API          %[1]s          (接口说明 reference: %[1]s/docs)
  银行节点 bank's node  http://%[2]s
  供方节点 provider's   http://%[3]s
  数据 data             %[4]s          (logs in logs/)

登录 sign-ins (POST /session):
`, s.Base(), s.BuyerLocal, s.ProviderLocal, s.Dir, again, network)
	for _, a := range x.SignIns {
		fmt.Printf("  %-24s login %-10s password %s\n", a.Who, a.Login, a.Password)
	}
	var regulator sample.SignIn
	for _, a := range x.SignIns {
		if a.Login == "regulator" {
			regulator = a
		}
	}
	fmt.Printf(`
试一试 · try:

  # 检索产品 · search the shelf (two-character Chinese words use an index)
  curl -s '%[1]s/products?q=%%E7%%BA%%B3%%E7%%A8%%8E&grade=L3'

  # 以监管登录，导出账本并离线核验 · sign in as the regulator, export the ledger, verify it offline
  curl -s -c cookies -H 'Content-Type: application/json' -d '{"login":"%[16]s","password":"%[17]s"}' %[1]s/session
  curl -s -b cookies -H 'Content-Type: application/json' -H 'Bund-Csrf: 1' -d '{"reason":"audit","openings":true}' -o export.zip %[1]s/supervision/exports
  unzip -qo export.zip -d export && bin/bundaudit verify --trust %[2]s/trust-root.json export

  # 银行用数据 · the bank uses data: metered, consented, the record stays at the provider
  bin/datanode call --config %[2]s/buyer.yaml --agreement %[3]s --subject %[4]s \
    --fields invoiced_12m,tax_score --purpose pre_loan --consent %[5]s --consent-key %[6]s

  # 换个目的则被拒 · another purpose is refused, and billed nothing
  bin/datanode call --config %[2]s/buyer.yaml --agreement %[3]s --subject %[4]s \
    --fields tax_score --purpose post_loan --consent %[5]s --consent-key %[6]s

  # 联合评分：权重加密，供方看不到；银行看不到特征 · joint scoring: neither weights nor features are handed over
  bin/datanode score --config %[2]s/buyer.yaml --agreement %[7]s --model %[8]s --purpose pre_loan \
    --subjects %[2]s/score-subjects.csv --out scores.csv

  # 隐私查询：供方计费、作答，不知查的是谁（注明 k 的分桶） · private lookup: the provider answers and is paid, and does not learn which
  bin/datanode lookup ask --config %[2]s/buyer.yaml --agreement %[9]s --purpose pre_loan --subjects %[11]s,%[4]s --buckets

  # 授权绑定查询：只有账本上有授权的企业；授权服务为企业保留自己的历史 · only who consented; the consent service keeps each company's own history
  bin/datanode lookup ask --config %[2]s/buyer.yaml --agreement %[10]s --purpose pre_loan --consents %[2]s/lookup-consents.csv
  bin/datanode lookup history --config %[2]s/steward.yaml --subject %[4]s

  # 统计计算：只返回加噪的汇总，预算由全部使用方共用 · compute: noisy aggregates only, one budget for all consumers
  bin/datanode query --config %[2]s/buyer.yaml --agreement %[12]s --purpose pre_loan --spec %[2]s/query.json

  # 名单求交：银行知道哪些重合，供方只知道规模 · intersection: the bank learns which, the provider the size
  bin/datanode psi --config %[2]s/buyer.yaml --agreement %[9]s --purpose pre_loan --ids %[2]s/psi-list.csv --out matches.csv

  # 密封文件与联合统计 · a sealed file, and a joint statistic of three banks
  bin/datanode fetch --config %[2]s/buyer.yaml --agreement %[13]s --fields staff --purpose pre_loan --out directory.csv
  bin/datanode stats collect --config %[2]s/collector.yaml --task %[14]s
  bin/datanode stats result --config %[2]s/buyer.yaml --agreement %[15]s --task %[14]s --fields lenders --purpose pre_loan

  # 在浏览器里做隐私查询，只与本节点通信 · private queries in a browser that talks to your own node alone
  bin/datanode ui --config %[2]s/buyer.yaml

  # 节点状态与收据 · where node and receipts stand
  bin/datanode status --config %[2]s/buyer.yaml

  # 签署准备好的字节 · sign prepared bytes as the bank's maker
  bin/datanode sign --key %[2]s/keys/buyer/maker.seed < prepared

`, s.Base(), s.Dir, x.Agreement, x.Subject, x.Consent, x.ConsentKey, x.Private["tax-score"].Agreement, x.Model,
		x.Private["debtors"].Agreement, x.Private["tax-consent"].Agreement, x.Debtor,
		x.Private["tax-compute"].Agreement, x.Private["directory"].Agreement, x.Task, x.Private["exposure"].Agreement, regulator.Login, regulator.Password)
}
