#Requires -RunAsAdministrator
<#
.SYNOPSIS
Takes back what install.ps1 did: removes the driver from its devices and from the driver store, and
the test certificate from the machine's stores. Test signing stays on.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'

$packages = @(Get-WindowsDriver -Online |
    Where-Object { (Split-Path -Leaf $_.OriginalFileName) -eq 'dmaproof.inf' })
if (-not $packages) { Write-Warning 'No dmaproof package is in the driver store.' }
foreach ($package in $packages) {
    & pnputil.exe /delete-driver $package.Driver /uninstall
    switch ($LASTEXITCODE) {
        0 { }
        { $_ -in 3010, 1641 } { Write-Warning 'Restart the machine to finish the removal.' }
        default { throw "pnputil failed with $LASTEXITCODE; close all programs that use the device." }
    }
}

$file = Join-Path $PSScriptRoot 'WDRLocalTestCert.cer'
if (Test-Path -LiteralPath $file) {
    $certificate = New-Object System.Security.Cryptography.X509Certificates.X509Certificate2 $file
    foreach ($store in 'Root', 'TrustedPublisher') {
        $path = "Cert:\LocalMachine\$store\$($certificate.Thumbprint)"
        if (Test-Path -LiteralPath $path) { Remove-Item -LiteralPath $path }
    }
} else {
    Write-Warning "$file is missing: the test certificate was not removed."
}
exit 0
