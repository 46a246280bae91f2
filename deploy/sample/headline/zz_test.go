package headline
import ("testing";"context";"fmt";"time";"github.com/bund-exchange/bund/contracts";"github.com/bund-exchange/bund/deploy/sample/polish")
func TestZZ(t *testing.T){
	c,err:=polish.Companies(); if err!=nil{t.Fatal(err)}
	m:=map[contracts.CreditCode]*polish.Company{}
	for i:=range c{m[c[i].Code]=&c[i]}
	s:=time.Now()
	tab,err:=Run(context.Background(),c,func(_ context.Context,code contracts.CreditCode)(map[string]string,error){
		f:=map[string]string{}; for _,k:=range polish.ProviderColumns{f[polish.Name(k)]=m[code].Ratio(k).String()}; return f,nil})
	fmt.Println(time.Since(s),err)
	for _,v:=range tab.Variants{ fmt.Printf("%s %d %+v %.4f\n",v.Name,v.Inputs,v.Ranking,v.Stability); for _,a:=range v.Approved{fmt.Printf("  %d%% %d/%d %.2f%% [%.2f %.2f]\n",a.Percent,a.Bad,a.N,100*float64(a.Bad)/float64(a.N),100*a.Interval.Low,100*a.Interval.High)}}
	fmt.Println(tab.Gain)
}
