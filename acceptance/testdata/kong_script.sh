#!/bin/bash
# The script of the first seed with its quotes, dashes and comments mended. Two things are
# parameters: where the Admin API is, and with NAME_ROUTES=1 the route's name, without
# which the last call of each round has nothing to find.

# Set Kong Admin API URL
KONG_ADMIN_URL="${KONG_ADMIN_URL:-http://localhost:8001}"

# Define an array of services and routes
declare -A services
services=(
["service11"]="http://example11.com:8080"
["service12"]="http://example12.com:8080"
["service13"]="http://example13.com:8080"
)

# Define routes corresponding to the services
declare -A routes
routes=(
["service11"]="/example11"
["service12"]="/example12"
["service13"]="/example13"
)

# Loop through the services and create them in Kong
for service in "${!services[@]}"; do
# Create each service
echo "Creating service: $service with URL: ${services[$service]}"
curl -i -X POST $KONG_ADMIN_URL/services \
--data name=$service \
--data url=${services[$service]}

# Create a route for each service
echo "Creating route for service: $service with path: ${routes[$service]}"
curl -i -X POST $KONG_ADMIN_URL/routes \
--data paths[]=${routes[$service]} \
--data service.name=$service ${NAME_ROUTES:+--data name=$service}

# Optionally, add a plugin (e.g., key-auth) to each route

echo "Adding key-auth plugin to route for service: $service"

curl -i -X POST $KONG_ADMIN_URL/routes/${service}/plugins \
--data name=key-auth

done

echo "All services and routes have been configured."
