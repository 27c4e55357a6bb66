package component

import (
	"sluice.dev/sluice/internal/agent/engine"
)

// Catalogue lists every component.
func Catalogue() []engine.Definition {
	return []engine.Definition{
		generateFlowFile(), getFile(), putFile(), tailFile(), listenHTTP(), invokeHTTP(),
		consumeMQTT(), publishMQTT(), publishKafka(), putKinesisStream(), putS3Object(),
		sslContextService(), kafkaConnection(), awsCredentials(),
		routeOnAttribute(), updateAttribute(), replaceText(), splitText(), logAttribute(), mergeContent(),
	}
}

const (
	standard   = "org.apache.nifi.processors.standard."
	attributes = "org.apache.nifi.processors.attributes."
)

// maxText bounds content that a component works on as a whole.
const maxText = 64 << 20

// relationship is shorthand for the lists of them.
func relationship(name, description string) engine.Relationship {
	return engine.Relationship{Name: name, Description: description}
}

var (
	success  = relationship("success", "Flow files that were processed")
	failure  = relationship("failure", "Flow files that could not be processed")
	original = relationship("original", "The flow file that others were made of")
)

// fail logs why a flow file could not be processed and sends it to failure, penalised.
func fail(set *engine.Settings, s *engine.Session, f *engine.FlowFile, err error) {
	set.Log.Warn("a flow file could not be processed", "uuid", f.ID(), "error", err)
	s.Penalize(f)
	s.Transfer(f, failure.Name)
}
