package policy

import (
	"encoding/json"
	"testing"
)

const odrlGolden = `{
  "@context": [
    "https://w3id.org/dspace/2025/1/context.jsonld",
    {
      "bund": "urn:bund:policy:v1:",
      "xsd": "http://www.w3.org/2001/XMLSchema#"
    }
  ],
  "@type": "Offer",
  "@id": "urn:uuid:1",
  "profile": "urn:bund:policy:v1",
  "permission": [
    {
      "action": "use",
      "constraint": [
        {
          "leftOperand": "purpose",
          "operator": "isAnyOf",
          "rightOperand": [
            "bund:evaluation",
            "bund:post_loan",
            "bund:pre_loan",
            "bund:quota_review"
          ]
        },
        {
          "leftOperand": "bund:operation",
          "operator": "isAnyOf",
          "rightOperand": [
            "bund:joint_statistics",
            "bund:psi",
            "bund:query",
            "bund:verify"
          ]
        },
        {
          "leftOperand": "bund:field",
          "operator": "isAnyOf",
          "rightOperand": [
            "arrears",
            "red_ratio",
            "vat_12m"
          ]
        },
        {
          "leftOperand": "spatial",
          "operator": "isAnyOf",
          "rightOperand": [
            "CN"
          ]
        },
        {
          "leftOperand": "dateTime",
          "operator": "gteq",
          "rightOperand": "2026-11-01T16:00:00.000Z"
        },
        {
          "leftOperand": "dateTime",
          "operator": "lt",
          "rightOperand": "2027-11-01T16:00:00.000Z"
        },
        {
          "leftOperand": "count",
          "operator": "lteq",
          "rightOperand": {
            "@type": "xsd:integer",
            "@value": "1000"
          }
        },
        {
          "leftOperand": "bund:cohort",
          "operator": "gteq",
          "rightOperand": {
            "@type": "xsd:integer",
            "@value": "30"
          }
        },
        {
          "leftOperand": "bund:retention",
          "operator": "lteq",
          "rightOperand": "P90D"
        }
      ],
      "duty": [
        {
          "action": "obtainConsent"
        }
      ]
    }
  ],
  "prohibition": [
    {
      "action": "distribute"
    },
    {
      "action": "bund:transfer_abroad"
    }
  ],
  "obligation": [
    {
      "action": "attribute"
    },
    {
      "action": "delete"
    }
  ]
}`

func TestODRL(t *testing.T) {
	got, err := json.MarshalIndent(template().ODRL("urn:uuid:1"), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != odrlGolden {
		t.Errorf("%s", got)
	}
}

// DSP's schema refuses an empty prohibition or obligation.
func TestODRLLeavesOutWhatIsEmpty(t *testing.T) {
	p := template()
	p.Prohibitions, p.Duties, p.ConsentRequired, p.NotBefore, p.NotAfter, p.MaxCalls, p.MinimumCohort = nil, nil, false, 0, 0, 0, 0
	b, err := json.Marshal(p.ODRL("urn:uuid:1"))
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	if len(m) != 5 || m["prohibition"] != nil || m["obligation"] != nil {
		t.Errorf("%s", b)
	}
	rule := m["permission"].([]any)[0].(map[string]any)
	if len(rule["constraint"].([]any)) != 5 || rule["duty"] != nil {
		t.Errorf("%s", b)
	}
}

func TestEveryProhibitionAndDutyHasAnAction(t *testing.T) {
	for _, x := range prohibitions {
		if odrlActions[string(x)] == "" {
			t.Errorf("%s has no action", x)
		}
	}
	for _, x := range duties {
		if odrlActions[string(x)] == "" {
			t.Errorf("%s has no action", x)
		}
	}
}
