package component

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"sluice.dev/sluice/internal/agent/engine"
)

// mqttProperties are what both MQTT processors have.
func mqttProperties(own ...engine.Property) []engine.Property {
	return append(own,
		engine.Property{Name: "Broker URI", Description: "tcp://, ssl://, ws:// or wss://", Required: true, Check: engine.URL("tcp", "ssl", "ws", "wss", "mqtt", "mqtts")},
		engine.Property{Name: "Client ID", Description: "One made of the processor's id if empty"},
		engine.Property{Name: "Username"},
		engine.Property{Name: "Password", Sensitive: true},
		engine.Property{Name: "SSL Context Service", Service: sslAPI},
		engine.Property{Name: "Session state", Description: "Whether the broker keeps what is not taken while the agent is away", Default: resumeSession, Required: true,
			Allowed: []string{resumeSession, "Clean Session"}},
		engine.Property{Name: "Connection Timeout", DisplayName: "Connection Timeout (seconds)", Default: "30", Check: engine.Integer(1, 3600)},
		engine.Property{Name: "Keep Alive Interval", DisplayName: "Keep Alive Interval (seconds)", Default: "60", Check: engine.Integer(1, 3600)},
	)
}

const resumeSession = "Resume Session"

var qualities = []string{"0", "1", "2"}

// mqttClient makes a client that connects by itself, again and again: a broker that is away
// does not keep a flow from starting.
func mqttClient(s *engine.Settings, subscribed func(mqtt.Client)) mqtt.Client {
	o := mqtt.NewClientOptions().AddBroker(s.Text("Broker URI")).SetClientID(s.Text("Client ID"))
	if s.Text("Client ID") == "" {
		o.SetClientID("sluice-" + s.ID)
	}
	o.SetUsername(s.Text("Username")).SetPassword(s.Text("Password"))
	if conf := tlsOf(s, "SSL Context Service"); conf != nil {
		o.SetTLSConfig(conf)
	} else {
		o.SetTLSConfig(&tls.Config{MinVersion: tls.VersionTLS12})
	}
	o.SetCleanSession(s.Text("Session state") != resumeSession).SetProtocolVersion(4)
	o.SetConnectTimeout(time.Duration(s.Int("Connection Timeout")) * time.Second).SetKeepAlive(time.Duration(s.Int("Keep Alive Interval")) * time.Second)
	o.SetAutoReconnect(true).SetMaxReconnectInterval(30 * time.Second).SetConnectRetry(true).SetConnectRetryInterval(time.Second)
	o.SetAutoAckDisabled(true)
	o.SetOnConnectHandler(func(c mqtt.Client) {
		s.Log.Info("connected to the broker")
		if subscribed != nil {
			subscribed(c)
		}
	})
	o.SetConnectionLostHandler(func(_ mqtt.Client, err error) { s.Log.Warn("the broker is lost", "error", err) })
	c := mqtt.NewClient(o)
	c.Connect() // goes on by itself
	return c
}

var errSlowBroker = errors.New("the broker does not answer in time")

// settle waits for what was asked of a broker.
func settle(t mqtt.Token, d time.Duration) error {
	if !t.WaitTimeout(d) {
		return errSlowBroker
	}
	return t.Error()
}

func logged(log *slog.Logger, what string, err error) {
	if err != nil {
		log.Warn(what, "error", fmt.Sprint(err))
	}
}
