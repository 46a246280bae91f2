package polish

import (
	"encoding/json"
	"fmt"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/dictionary"
)

// AsOf is the end of 2013, the last year in the data set, in Shanghai: the date of the provider's dataset as a whole.
const AsOf contracts.Millis = 1388505600000 - 1

// titles says what the ratios are: in Chinese (ours) and in the data set's words.
var titles = map[int][2]string{
	1:  {"净利润 / 总资产", "net profit / total assets"},
	2:  {"总负债 / 总资产", "total liabilities / total assets"},
	3:  {"营运资金 / 总资产", "working capital / total assets"},
	4:  {"流动资产 / 短期负债", "current assets / short-term liabilities"},
	5:  {"（现金 + 短期证券 + 应收款 − 短期负债）/（营业费用 − 折旧）× 365", "[(cash + short-term securities + receivables - short-term liabilities) / (operating expenses - depreciation)] * 365"},
	6:  {"留存收益 / 总资产", "retained earnings / total assets"},
	7:  {"息税前利润 / 总资产", "EBIT / total assets"},
	8:  {"权益账面价值 / 总负债", "book value of equity / total liabilities"},
	9:  {"销售收入 / 总资产", "sales / total assets"},
	10: {"权益 / 总资产", "equity / total assets"},
	11: {"（毛利 + 非常项目 + 财务费用）/ 总资产", "(gross profit + extraordinary items + financial expenses) / total assets"},
	12: {"毛利 / 短期负债", "gross profit / short-term liabilities"},
	13: {"（毛利 + 折旧）/ 销售收入", "(gross profit + depreciation) / sales"},
	14: {"（毛利 + 利息）/ 总资产", "(gross profit + interest) / total assets"},
	15: {"总负债 × 365 /（毛利 + 折旧）", "(total liabilities * 365) / (gross profit + depreciation)"},
	16: {"（毛利 + 折旧）/ 总负债", "(gross profit + depreciation) / total liabilities"},
	17: {"总资产 / 总负债", "total assets / total liabilities"},
	18: {"毛利 / 总资产", "gross profit / total assets"},
	19: {"毛利 / 销售收入", "gross profit / sales"},
	20: {"存货 × 365 / 销售收入", "(inventory * 365) / sales"},
	22: {"经营利润 / 总资产", "profit on operating activities / total assets"},
	23: {"净利润 / 销售收入", "net profit / sales"},
	24: {"三年毛利 / 总资产", "gross profit (in 3 years) / total assets"},
	25: {"（权益 − 股本）/ 总资产", "(equity - share capital) / total assets"},
	26: {"（净利润 + 折旧）/ 总负债", "(net profit + depreciation) / total liabilities"},
	28: {"营运资金 / 固定资产", "working capital / fixed assets"},
	29: {"总资产的对数", "logarithm of total assets"},
	30: {"（总负债 − 现金）/ 销售收入", "(total liabilities - cash) / sales"},
	31: {"（毛利 + 利息）/ 销售收入", "(gross profit + interest) / sales"},
	32: {"流动负债 × 365 / 销售成本", "(current liabilities * 365) / cost of products sold"},
	33: {"营业费用 / 短期负债", "operating expenses / short-term liabilities"},
	34: {"营业费用 / 总负债", "operating expenses / total liabilities"},
	35: {"销售利润 / 总资产", "profit on sales / total assets"},
	36: {"总销售收入 / 总资产", "total sales / total assets"},
	38: {"长期资本 / 总资产", "constant capital / total assets"},
	39: {"销售利润 / 销售收入", "profit on sales / sales"},
	40: {"（流动资产 − 存货 − 应收款）/ 短期负债", "(current assets - inventory - receivables) / short-term liabilities"},
	41: {"总负债 /（（经营利润 + 折旧）× 12/365）", "total liabilities / ((profit on operating activities + depreciation) * (12/365))"},
	42: {"经营利润 / 销售收入", "profit on operating activities / sales"},
	43: {"应收款周转天数 + 存货周转天数", "rotation receivables + inventory turnover in days"},
	44: {"应收款 × 365 / 销售收入", "(receivables * 365) / sales"},
	46: {"（流动资产 − 存货）/ 短期负债", "(current assets - inventory) / short-term liabilities"},
	47: {"存货 × 365 / 销售成本", "(inventory * 365) / cost of products sold"},
	48: {"息税折旧前利润（经营利润 − 折旧）/ 总资产", "EBITDA (profit on operating activities - depreciation) / total assets"},
	49: {"息税折旧前利润（经营利润 − 折旧）/ 销售收入", "EBITDA (profit on operating activities - depreciation) / sales"},
	50: {"流动资产 / 总负债", "current assets / total liabilities"},
	51: {"短期负债 / 总资产", "short-term liabilities / total assets"},
	52: {"短期负债 × 365 / 销售成本", "(short-term liabilities * 365) / cost of products sold"},
	53: {"权益 / 固定资产", "equity / fixed assets"},
	54: {"长期资本 / 固定资产", "constant capital / fixed assets"},
	55: {"营运资金", "working capital"},
	56: {"（销售收入 − 销售成本）/ 销售收入", "(sales - cost of products sold) / sales"},
	57: {"（流动资产 − 存货 − 短期负债）/（销售收入 − 毛利 − 折旧）", "(current assets - inventory - short-term liabilities) / (sales - gross profit - depreciation)"},
	58: {"总成本 / 总销售收入", "total costs / total sales"},
	59: {"长期负债 / 权益", "long-term liabilities / equity"},
	61: {"销售收入 / 应收款", "sales / receivables"},
	62: {"短期负债 × 365 / 销售收入", "(short-term liabilities * 365) / sales"},
	63: {"销售收入 / 短期负债", "sales / short-term liabilities"},
}

// days are the ratios that are counted in days; the others are pure numbers.
var days = map[int]bool{5: true, 15: true, 20: true, 32: true, 43: true, 44: true, 47: true, 52: true, 62: true}

// Title says what a column is, in Chinese and English.
func Title(column int) (zh, en string) { return titles[column][0], titles[column][1] }

// Schema is the field dictionary of the provider's dataset: the code and 39 ratios. Its digest goes into the product's
// facts.
func Schema() *dictionary.Dictionary {
	d := &dictionary.Dictionary{Key: "code", Fields: []dictionary.Field{{Name: "code", Title: "统一社会信用代码（构造）", TitleEn: "unified social credit code (synthetic)",
		Type: dictionary.Text, Format: dictionary.CreditCodeFormat}}}
	for _, column := range ProviderColumns {
		zh, en := Title(column)
		f := dictionary.Field{Name: Name(column), Title: zh, TitleEn: en, Type: dictionary.Decimal, Unit: "比率 ratio", Scale: microDigits}
		if days[column] {
			f.Unit = "天 days"
		}
		d.Fields = append(d.Fields, f)
	}
	return d
}

// ProviderDictionary is Schema as a file that `datanode import --schema` reads: JSON, which is YAML too.
func ProviderDictionary() []byte {
	b, err := json.MarshalIndent(Schema(), "", "  ")
	if err != nil {
		panic(fmt.Sprintf("polish: dictionary: %v", err)) // strings and integers only
	}
	return append(b, '\n')
}
